// SPDX-License-Identifier: MIT
pragma solidity ^0.8.30;

import {IAccessControl} from "@openzeppelin/contracts/access/IAccessControl.sol";
import {IERC1155} from "@openzeppelin/contracts/token/ERC1155/IERC1155.sol";
import {IComputeCredits} from "contracts/interfaces/IComputeCredits.sol";
import {IUnorderedNonces} from "contracts/interfaces/IUnorderedNonces.sol";
import {JobTerms, Status} from "contracts/interfaces/Types.sol";
import {Base} from "./Base.t.sol";
import {ContractWallet} from "./support/Wallets.sol";

/// @dev Pausing a class, which stops what comes in and nothing that goes out; and approvals by signature.
contract ComputeCreditsPauseTest is Base {
    uint256 private constant MAX_PAUSE = 14 days;
    bytes32 private constant APPROVAL_TYPEHASH =
        keccak256("Approval(address owner,address operator,bool approved,uint256 nonce,uint256 deadline)");

    /* pauseClass: REVERTS */

    function testFuzz_RevertWhen_PausedByAnother(address caller) public {
        vm.assume(caller != admin.addr);
        vm.expectRevert(
            abi.encodeWithSelector(IAccessControl.AccessControlUnauthorizedAccount.selector, caller, PAUSER_ROLE)
        );
        vm.prank(caller);
        credits.pauseClass(plain, uint40(_now() + 1));
    }

    function testFuzz_RevertWhen_PauseIsTooLong(uint40 until) public {
        until = uint40(bound(until, START + MAX_PAUSE + 1, type(uint40).max));
        _expect(IComputeCredits.ComputeCredits_PauseTooLong.selector, plain, until, START + MAX_PAUSE);
        _pause(until);
    }

    /// @dev Pauses that follow each other would be a freeze.
    function testFuzz_RevertWhen_PausedAgainTooSoon(uint40 when) public {
        uint40 until = uint40(START + MAX_PAUSE);
        _pause(until);
        vm.warp(bound(when, until, until + MAX_PAUSE - 1));
        vm.expectPartialRevert(IComputeCredits.ComputeCredits_PauseTooLong.selector);
        _pause(uint40(_now() + 1));
    }

    function testFuzz_RevertWhen_ThingsComeInWhilePaused(uint40 until, uint40 when) public {
        uint256 granted = _createClass(_grantTerms());
        _buy(alice.addr, plain, 10);
        until = uint40(bound(until, START + 1, START + MAX_PAUSE));
        _pause(until);
        vm.prank(admin.addr);
        credits.pauseClass(granted, until);
        vm.warp(bound(when, START, until - 1));
        bytes4 paused = IComputeCredits.ComputeCredits_Paused.selector;
        uint256 cost = reserve.costOf(plain, 1);
        _fund(alice.addr, cost);
        _expect(paused, plain, _now(), until);
        vm.prank(alice.addr);
        reserve.buy(plain, 1, alice.addr, cost);
        JobTerms memory terms = _terms(plain, 1);
        _expect(paused, plain, _now(), until);
        vm.prank(alice.addr);
        market.open(terms, "");
        _expect(paused, granted, _now(), until);
        vm.prank(issuer.addr);
        credits.grant(alice.addr, granted, 1);
    }

    /* pauseClass: SUCCESS */

    /// @dev Whatever is on its way out goes out.
    function test_Pause_BlocksNoExit() public {
        (JobTerms memory terms, bytes32 jobId) = _runNew(plain, 1_000);
        (JobTerms memory open,) = _openNew(plain, 1_000);
        vm.expectEmit(address(credits));
        emit IComputeCredits.ClassPaused(plain, START + MAX_PAUSE);
        _pause(uint40(START + MAX_PAUSE));
        assertEq(credits.pausedUntil(plain), START + MAX_PAUSE, "paused until");
        _submit(terms, _receipt(jobId, 600));
        _assertEnded(terms, Status.Settled);
        vm.prank(alice.addr);
        market.cancel(open);
        _assertEnded(open, Status.Cancelled);
        uint256 earned = reserve.earningsOf(provider.addr, address(usd));
        if (earned != 0) {
            vm.prank(provider.addr);
            reserve.withdraw(address(usd), earned, provider.addr);
        }
        vm.prank(alice.addr);
        credits.safeTransferFrom(alice.addr, bob.addr, plain, 10, "");
        _close(plain);
        vm.prank(alice.addr);
        reserve.reclaim(plain, 1_390);
        _assertCredits(alice.addr, plain, 0, "all out");
    }

    function test_Pause_EndsByTimeOrByHand() public {
        _pause(uint40(START + MAX_PAUSE));
        vm.warp(START + MAX_PAUSE);
        _buy(alice.addr, plain, 1);
        vm.warp(START + 2 * MAX_PAUSE);
        _pause(uint40(_now() + 1 days));
        _pause(uint40(_now()));
        _buy(alice.addr, plain, 1);
        _assertCredits(alice.addr, plain, 2, "bought");
    }

    /* setApprovalForAllBySig */

    function testFuzz_RevertWhen_ApprovalIsLate(uint256 deadline, uint40 when) public {
        when = uint40(bound(when, START, type(uint40).max));
        deadline = bound(deadline, 0, uint256(when) - 1);
        bytes memory signature = _approval(alice.addr, true, 1, deadline);
        vm.warp(when);
        _expect(IUnorderedNonces.UnorderedNonces_DeadlinePassed.selector, alice.addr, when, deadline);
        credits.setApprovalForAllBySig(alice.addr, bob.addr, true, 1, deadline, signature);
    }

    function testFuzz_RevertWhen_ApprovalIsReplayed(uint256 nonce) public {
        bytes memory signature = _approval(alice.addr, true, nonce, type(uint256).max);
        credits.setApprovalForAllBySig(alice.addr, bob.addr, true, nonce, type(uint256).max, signature);
        _expect(IUnorderedNonces.UnorderedNonces_Used.selector, alice.addr, nonce, 1);
        credits.setApprovalForAllBySig(alice.addr, bob.addr, true, nonce, type(uint256).max, signature);
    }

    function testFuzz_RevertWhen_ApprovalIsOfAnother(address owner, uint256 nonce) public {
        vm.assume(owner != alice.addr && owner.code.length == 0);
        bytes memory signature = _approval(owner, true, nonce, type(uint256).max);
        _expect(IUnorderedNonces.UnorderedNonces_BadSignature.selector, owner, signature.length, 65);
        credits.setApprovalForAllBySig(owner, bob.addr, true, nonce, type(uint256).max, signature);
    }

    function testFuzz_ApprovalBySig(uint256 nonce, address relayer, bool approved) public {
        bytes memory signature = _approval(alice.addr, approved, nonce, type(uint256).max);
        vm.expectEmit(address(credits));
        emit IERC1155.ApprovalForAll(alice.addr, bob.addr, approved);
        vm.prank(relayer);
        credits.setApprovalForAllBySig(alice.addr, bob.addr, approved, nonce, type(uint256).max, signature);
        assertEq(credits.isApprovedForAll(alice.addr, bob.addr), approved, "approved");
        assertTrue(IUnorderedNonces(address(credits)).isNonceUsed(alice.addr, nonce), "nonce");
    }

    function test_ApprovalBySig_OfAContractWallet() public {
        ContractWallet wallet = new ContractWallet();
        wallet.approve(_digest(address(wallet), true, 7, type(uint256).max));
        credits.setApprovalForAllBySig(address(wallet), bob.addr, true, 7, type(uint256).max, "any");
        assertTrue(credits.isApprovedForAll(address(wallet), bob.addr), "approved");
    }

    /* HELPERS */

    function _pause(uint40 until) private {
        vm.prank(admin.addr);
        credits.pauseClass(plain, until);
    }

    /// @dev Always alice's signature.
    function _approval(address owner, bool approved, uint256 nonce, uint256 deadline)
        private
        view
        returns (bytes memory)
    {
        return _sign(alice, _digest(owner, approved, nonce, deadline));
    }

    function _digest(address owner, bool approved, uint256 nonce, uint256 deadline) private view returns (bytes32) {
        bytes32 domain = keccak256(
            abi.encode(
                keccak256("EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)"),
                keccak256("Scrip ComputeCredits"),
                keccak256("1"),
                block.chainid,
                address(credits)
            )
        );
        bytes32 structHash = keccak256(abi.encode(APPROVAL_TYPEHASH, owner, bob.addr, approved, nonce, deadline));
        return keccak256(abi.encodePacked("\x19\x01", domain, structHash));
    }
}
