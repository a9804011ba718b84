// SPDX-License-Identifier: MIT
pragma solidity ^0.8.30;

import {Base} from "../Base.t.sol";

/// @dev Takes actions, counts them, and keeps which rules they saw broken. Numbers of rules: docs/invariants.md.
abstract contract Record is Base {
    /// @dev Enough for every call of the campaign, and little enough that a receiver that burns gas doesn't slow it.
    uint256 private constant CALL_GAS = 5_000_000;
    /// @dev What is checked in full is checked after each so many actions, and at the end.
    uint256 private constant CHECK_EVERY = 10;
    /// @dev The rule that a call succeeds if, and only if, nothing forbids it, and says why if it fails.
    uint256 internal constant REASONS = 24;
    bytes4 private constant PANIC = 0x4e487b71;

    mapping(bytes4 action => uint256) public tried;
    mapping(bytes4 action => uint256) public succeeded;
    /// @dev What was seen broken, each rule once: "[number] what; ". Empty as long as all rules hold.
    string public broken;
    uint256 private _rules;
    uint256 private _steps;

    /* ACTIONS */

    /// @dev Wraps every action. One that finds nothing to act on is dropped by `vm.assume` and counts for nothing.
    modifier action() {
        ++tried[msg.sig];
        _;
        if (++_steps % CHECK_EVERY == 0) checkAll();
    }

    /// @dev An action got to its end.
    function _done() internal {
        ++succeeded[msg.sig];
    }

    function checkAll() public virtual;

    /* RULES */

    function _check(bool ok, uint256 rule, string memory what) internal {
        if (!ok) _fail(rule, what);
    }

    function _fail(uint256 rule, string memory what) internal {
        if (_rules >> rule & 1 == 1) return;
        _rules |= 1 << rule;
        broken = string.concat(broken, "[", vm.toString(rule), "] ", what, "; ");
    }

    /* CALLS */

    /// @dev A call that must succeed if `refusing`, the rule that forbids it, is 0; and fail otherwise.
    function _attempt(address by, address to, bytes memory data, uint256 refusing)
        internal
        returns (bool ok, bytes memory answer)
    {
        (ok, answer) = _call(by, to, data);
        if (ok && refusing != 0) _fail(refusing, string.concat("went through: ", _name(data)));
        if (!ok && refusing == 0) _fail(REASONS, string.concat("refused: ", _name(data), " by ", _name(answer)));
    }

    /// @dev A call that breaks `rule` if it fails.
    function _must(address by, address to, bytes memory data, uint256 rule) internal returns (bool ok) {
        bytes memory answer;
        (ok, answer) = _call(by, to, data);
        if (!ok) _fail(rule, string.concat("refused: ", _name(data), " by ", _name(answer)));
    }

    /// @dev A call that breaks `rule` if it succeeds.
    function _mustNot(address by, address to, bytes memory data, uint256 rule) internal returns (bool ok) {
        (ok,) = _call(by, to, data);
        if (ok) _fail(rule, string.concat("went through: ", _name(data)));
    }

    function _call(address by, address to, bytes memory data) internal returns (bool ok, bytes memory answer) {
        vm.prank(by);
        (ok, answer) = to.call{gas: CALL_GAS}(data);
        if (ok) return (ok, answer);
        if (answer.length < 4) _fail(REASONS, string.concat("failed without a reason: ", _name(data)));
        else if (bytes4(answer) == PANIC) _fail(REASONS, string.concat("panicked: ", _name(data)));
    }

    function _name(bytes memory data) private pure returns (string memory) {
        return vm.toString(abi.encodePacked(bytes4(data)));
    }
}
