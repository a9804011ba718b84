// SPDX-License-Identifier: MIT
pragma solidity ^0.8.30;

import {IUnorderedNonces} from "contracts/interfaces/IUnorderedNonces.sol";
import {Base} from "./Base.t.sol";

/// @dev Nonces of signed calls, at the budgets, which are one of their hosts. What a signed call does with them is in the
/// tests of each host: `SpendingBudgetsSigned` for this one.
contract UnorderedNoncesTest is Base {
    IUnorderedNonces private _nonces;

    function setUp() public override {
        super.setUp();
        _nonces = IUnorderedNonces(address(budgets));
    }

    function testFuzz_RevertWhen_UsedTwice(address account, uint256 nonce) public {
        vm.startPrank(account);
        _nonces.useNonce(nonce);
        _expect(IUnorderedNonces.UnorderedNonces_Used.selector, account, nonce, 1);
        _nonces.useNonce(nonce);
        vm.stopPrank();
    }

    function testFuzz_UseNonce(address account, uint256 nonce) public {
        assertFalse(_nonces.isNonceUsed(account, nonce), "before");
        vm.expectEmit(address(_nonces));
        emit IUnorderedNonces.NonceUsed(account, nonce);
        vm.prank(account);
        _nonces.useNonce(nonce);
        assertTrue(_nonces.isNonceUsed(account, nonce), "after");
    }

    /// @dev Neither of its neighbours, of the same word or the next, nor of another account.
    function testFuzz_UseNonce_UsesNoOther(address account, address other, uint256 nonce, uint256 neighbour) public {
        vm.assume(account != other && nonce != neighbour);
        vm.prank(account);
        _nonces.useNonce(nonce);
        assertFalse(_nonces.isNonceUsed(account, neighbour), "another nonce");
        assertFalse(_nonces.isNonceUsed(other, nonce), "another account");
        unchecked {
            assertFalse(_nonces.isNonceUsed(account, nonce + 1), "the next");
            assertFalse(_nonces.isNonceUsed(account, nonce - 1), "the one before");
            assertFalse(_nonces.isNonceUsed(account, nonce + 256), "the same bit of the next word");
        }
    }

    /// @dev In any order, and each word holds 256 of them.
    function testFuzz_UseNonce_InAnyOrder(uint256 first, uint256 step) public {
        // Odd, so that the steps go through all 256 before they come back.
        step = bound(step, 0, type(uint128).max) * 2 + 1;
        first = bound(first, 0, type(uint248).max - 1) << 8;
        vm.startPrank(alice.addr);
        for (uint256 i; i < 256; ++i) {
            _nonces.useNonce(first + i * step % 256);
        }
        vm.stopPrank();
        for (uint256 i; i < 256; ++i) {
            assertTrue(_nonces.isNonceUsed(alice.addr, first + i), "used");
        }
        assertFalse(_nonces.isNonceUsed(alice.addr, first + 256), "the next word is free");
    }
}
