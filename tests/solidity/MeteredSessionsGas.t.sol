// SPDX-License-Identifier: MIT
pragma solidity ^0.8.30;

import {IMeteredSessions} from "contracts/interfaces/IMeteredSessions.sol";
import {SessionTerms} from "contracts/interfaces/Types.sol";
import {MeteredSessionsBase} from "./MeteredSessionsBase.t.sol";

/// @dev What a whole transaction of claimBatch costs for each of its sessions: distinct payers and keys, slots and
/// earnings that aren't zero, all of it cold.
contract MeteredSessionsGasTest is MeteredSessionsBase {
    uint256 private constant ROWS = 100;
    uint256 private constant TRANSACTION = 21_000;

    IMeteredSessions.Claim[] private rows;

    /// @dev In the set-up, because storage written in the same transaction is cheaper to write again.
    function setUp() public override {
        super.setUp();
        for (uint256 i; i < ROWS; ++i) {
            SessionTerms memory terms = _sessionTerms(plain);
            terms.payer = makeAddr(string.concat("payer-", vm.toString(i)));
            Account memory payersKey = makeAccount(string.concat("key-", vm.toString(i)));
            terms.key = payersKey.addr;
            // As random as salts are.
            terms.salt = uint256(keccak256(abi.encode(i)));
            bytes32 id = _start(terms, DEPOSIT);
            sessions.claim(_row(terms, 1_000, _voucher(payersKey, id, 1_000)));
            rows.push(_row(terms, 500_000, _voucher(payersKey, id, 500_000)));
        }
    }

    function test_Gas_1() public {
        assertLt(_perRow(1), 100_000, "gas of a batch of one");
    }

    function test_Gas_10() public {
        assertLt(_perRow(10), 26_000, "gas of a row of 10");
    }

    function test_Gas_100() public {
        assertLe(_perRow(100), 18_000, "gas of a row of 100");
    }

    function _perRow(uint256 count) private returns (uint256 gas_) {
        IMeteredSessions.Claim[] memory part = new IMeteredSessions.Claim[](count);
        for (uint256 i; i < count; ++i) {
            part[i] = rows[i];
        }
        bytes memory data = abi.encodeCall(IMeteredSessions.claimBatch, (provider.addr, part));
        gas_ = TRANSACTION;
        for (uint256 i; i < data.length; ++i) {
            gas_ += data[i] == 0 ? 4 : 16;
        }
        address[4] memory touched = [address(sessions), address(credits), address(reserve), address(usd)];
        for (uint256 i; i < touched.length; ++i) {
            vm.cool(touched[i]);
        }
        (bool ok, bytes memory answer) = address(sessions).call(data);
        gas_ += vm.lastCallGas().gasTotalUsed;
        assertTrue(ok, "sent");
        assertEq(abi.decode(answer, (uint256)), count, "taken");
        gas_ /= count;
        emit log_named_uint(string.concat("claimBatch of ", vm.toString(count), ", gas a row"), gas_);
    }
}
