// SPDX-License-Identifier: MIT
pragma solidity ^0.8.30;

import {ERC20} from "@openzeppelin/contracts/token/ERC20/ERC20.sol";

/// @dev A payment token that breaks one promise of ERC-20 or ERC-3009 at a time, as the test tells it.
contract DishonestToken is ERC20 {
    /// @dev Kept from, and added to, every transfer.
    uint256 private _kept;
    uint256 private _added;
    bool private _answersFalse;
    address private _target;
    bytes private _call;

    constructor() ERC20("Dishonest", "DIS") {}

    function mint(address to, uint256 amount) external {
        _mint(to, amount);
    }

    function keep(uint256 amount) external {
        _kept = amount;
    }

    function add(uint256 amount) external {
        _added = amount;
    }

    function answerFalse() external {
        _answersFalse = true;
    }

    /// @dev What to call from inside the next transfer.
    function callBack(address target, bytes calldata call) external {
        (_target, _call) = (target, call);
    }

    /// @dev Accepts the authorisation and moves nothing, as a token whose fallback swallows unknown calls.
    function receiveWithAuthorization(address, address, uint256, uint256, uint256, bytes32, uint8, bytes32, bytes32)
        external {}

    function transferFrom(address from, address to, uint256 amount) public override returns (bool) {
        super.transferFrom(from, to, amount);
        return !_answersFalse;
    }

    function transfer(address to, uint256 amount) public override returns (bool) {
        super.transfer(to, amount);
        return !_answersFalse;
    }

    function _update(address from, address to, uint256 amount) internal override {
        super._update(from, to, amount);
        if (from == address(0)) return;
        if (_kept != 0) super._update(to, address(0xdead), _kept);
        if (_added != 0) super._update(address(0), to, _added);
        if (_target != address(0)) _callOut();
    }

    function _callOut() private {
        (address target, bytes memory call) = (_target, _call);
        _target = address(0);
        (bool ok, bytes memory answer) = target.call(call);
        if (ok) return;
        assembly ("memory-safe") {
            revert(add(answer, 32), mload(answer))
        }
    }
}

/// @dev A token that, like some old ones, answers nothing at all.
contract SilentToken {
    mapping(address account => uint256) public balanceOf;

    function mint(address to, uint256 amount) external {
        balanceOf[to] += amount;
    }

    function transfer(address to, uint256 amount) external {
        _move(msg.sender, to, amount);
    }

    /// @dev Everybody may move everybody's: allowances are not what is tested here.
    function transferFrom(address from, address to, uint256 amount) external {
        _move(from, to, amount);
    }

    function _move(address from, address to, uint256 amount) private {
        balanceOf[from] -= amount;
        balanceOf[to] += amount;
    }
}
