// SPDX-License-Identifier: MIT
pragma solidity ^0.8.30;

import {IERC1155Errors} from "@openzeppelin/contracts/interfaces/draft-IERC6093.sol";
import {IERC1155} from "@openzeppelin/contracts/token/ERC1155/IERC1155.sol";
import {MessageHashUtils} from "@openzeppelin/contracts/utils/cryptography/MessageHashUtils.sol";
import {IUnorderedNonces} from "contracts/interfaces/IUnorderedNonces.sol";
import {Base} from "./Base.t.sol";
import {ContractWallet} from "./support/Wallets.sol";

/// @dev setApprovalForAll, called by the owner or sent by anyone with the owner's signature.
contract ComputeCreditsApprovalTest is Base {
    bytes32 private constant TYPEHASH =
        keccak256("Approval(address owner,address operator,bool approved,uint256 nonce,uint256 deadline)");
    bytes32 private constant DOMAIN_TYPEHASH =
        keccak256("EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)");

    struct Approval {
        address owner;
        address operator;
        bool approved;
        uint256 nonce;
        uint256 deadline;
    }

    IUnorderedNonces private nonces;

    function setUp() public override {
        super.setUp();
        nonces = IUnorderedNonces(address(credits));
    }

    /* CALLED BY THE OWNER */

    function testFuzz_SetApprovalForAll(address operator, bool approved) public {
        vm.assume(operator != address(0));
        vm.expectEmit(address(credits));
        emit IERC1155.ApprovalForAll(alice.addr, operator, approved);
        vm.prank(alice.addr);
        credits.setApprovalForAll(operator, approved);
        assertEq(credits.isApprovedForAll(alice.addr, operator), approved, "approved");
        assertFalse(credits.isApprovedForAll(operator, alice.addr), "not the other way round");
        assertFalse(credits.isApprovedForAll(bob.addr, operator), "not of others");
    }

    function test_RevertWhen_NobodyIsApproved() public {
        bytes memory reason = abi.encodeWithSelector(IERC1155Errors.ERC1155InvalidOperator.selector, address(0));
        vm.expectRevert(reason);
        vm.prank(alice.addr);
        credits.setApprovalForAll(address(0), true);
        Approval memory approval = _approval(address(0), true, 0);
        bytes memory signature = _sign(alice, _digest(approval));
        vm.expectRevert(reason);
        _relay(approval, signature);
    }

    /* SIGNED: REVERTS */

    function testFuzz_RevertWhen_DeadlinePassed(uint256 deadline, uint256 nonce) public {
        Approval memory approval = _approval(bob.addr, true, nonce);
        approval.deadline = bound(deadline, 0, START - 1);
        bytes memory signature = _sign(alice, _digest(approval));
        _expect(IUnorderedNonces.UnorderedNonces_DeadlinePassed.selector, alice.addr, START, approval.deadline);
        _relay(approval, signature);
    }

    function testFuzz_RevertWhen_SentTwice(uint256 nonce) public {
        Approval memory approval = _approval(bob.addr, true, nonce);
        bytes memory signature = _sign(alice, _digest(approval));
        _relay(approval, signature);
        _expect(IUnorderedNonces.UnorderedNonces_Used.selector, alice.addr, nonce, 1);
        _relay(approval, signature);
    }

    /// @dev How an owner takes a signature back.
    function testFuzz_RevertWhen_NonceSpentByTheOwner(uint256 nonce) public {
        Approval memory approval = _approval(bob.addr, true, nonce);
        bytes memory signature = _sign(alice, _digest(approval));
        vm.prank(alice.addr);
        nonces.useNonce(nonce);
        _expect(IUnorderedNonces.UnorderedNonces_Used.selector, alice.addr, nonce, 1);
        _relay(approval, signature);
    }

    function testFuzz_RevertWhen_SignedByAnother(uint256 key, uint256 nonce) public {
        Account memory other = alice;
        other.key = boundPrivateKey(key);
        vm.assume(other.key != alice.key);
        Approval memory approval = _approval(bob.addr, true, nonce);
        _expectBadSignature(approval, _sign(other, _digest(approval)), 65);
    }

    /// @dev Every field is signed.
    function testFuzz_RevertWhen_AFieldWasChanged(address operator, uint256 nonce, uint256 deadline) public {
        Approval memory approval = _approval(bob.addr, true, 1);
        bytes memory signature = _sign(alice, _digest(approval));
        vm.assume(operator != bob.addr && nonce != 1);
        deadline = bound(deadline, START, type(uint256).max);
        vm.assume(deadline != approval.deadline);
        _expectBadSignature(Approval(alice.addr, operator, true, 1, approval.deadline), signature, 65);
        _expectBadSignature(Approval(alice.addr, bob.addr, false, 1, approval.deadline), signature, 65);
        _expectBadSignature(Approval(alice.addr, bob.addr, true, nonce, approval.deadline), signature, 65);
        _expectBadSignature(Approval(alice.addr, bob.addr, true, 1, deadline), signature, 65);
        _expectBadSignature(Approval(bob.addr, bob.addr, true, 1, approval.deadline), signature, 65);
    }

    function testFuzz_RevertWhen_SignatureMalformed(bytes memory signature) public {
        vm.assume(signature.length != 65);
        _expectBadSignature(_approval(bob.addr, true, 0), signature, signature.length);
    }

    /// @dev No signature is anyone's, the zero address's neither.
    function testFuzz_RevertWhen_NobodyOwns(bytes32 r, bytes32 s, uint8 v) public {
        Approval memory approval = _approval(bob.addr, true, 0);
        approval.owner = address(0);
        _expectBadSignature(approval, abi.encodePacked(r, s, v), 65);
    }

    /// @dev A signature counts on its own chain.
    function testFuzz_RevertWhen_SignedForAnotherChain(uint64 chain) public {
        vm.assume(chain != block.chainid && chain != 0);
        Approval memory approval = _approval(bob.addr, true, 0);
        bytes memory signature = _sign(alice, _digest(approval));
        vm.chainId(chain);
        _expectBadSignature(approval, signature, 65);
    }

    function testFuzz_RevertWhen_TheContractWalletDidNotAgree(uint256 nonce, bytes memory signature) public {
        Approval memory approval = _approval(bob.addr, true, nonce);
        approval.owner = address(new ContractWallet());
        _expectBadSignature(approval, signature, signature.length);
    }

    /* SIGNED: SUCCESS */

    function testFuzz_ApprovalBySig(address operator, bool approved, uint256 nonce, uint256 deadline) public {
        vm.assume(operator != address(0));
        Approval memory approval = _approval(operator, approved, nonce);
        approval.deadline = bound(deadline, START, type(uint256).max);
        bytes memory signature = _sign(alice, _digest(approval));
        vm.expectEmit(address(credits));
        emit IUnorderedNonces.NonceUsed(alice.addr, nonce);
        vm.expectEmit(address(credits));
        emit IERC1155.ApprovalForAll(alice.addr, operator, approved);
        _relay(approval, signature);
        assertEq(credits.isApprovedForAll(alice.addr, operator), approved, "approved");
        assertFalse(credits.isApprovedForAll(alice.addr, anyone), "who sent it isn't");
        assertTrue(nonces.isNonceUsed(alice.addr, nonce), "nonce");
    }

    /// @dev In any order, each once.
    function testFuzz_ApprovalBySig_InAnyOrder(uint256 first, uint256 second) public {
        vm.assume(first != second);
        Approval memory on = _approval(bob.addr, true, first);
        Approval memory off = _approval(bob.addr, false, second);
        bytes memory signedOn = _sign(alice, _digest(on));
        bytes memory signedOff = _sign(alice, _digest(off));
        _relay(off, signedOff);
        _relay(on, signedOn);
        assertTrue(credits.isApprovedForAll(alice.addr, bob.addr), "the last one sent counts");
    }

    function testFuzz_ApprovalBySig_OfAContractWallet(uint256 nonce) public {
        ContractWallet wallet = new ContractWallet();
        Approval memory approval = _approval(bob.addr, true, nonce);
        approval.owner = address(wallet);
        wallet.approve(_digest(approval));
        _relay(approval, "");
        assertTrue(credits.isApprovedForAll(address(wallet), bob.addr), "approved");
    }

    /* HELPERS */

    function _approval(address operator, bool approved, uint256 nonce) private view returns (Approval memory) {
        return Approval(alice.addr, operator, approved, nonce, START);
    }

    /// @dev Computed here from the standard, not asked of the contract.
    function _digest(Approval memory approval) private view returns (bytes32) {
        bytes32 domain = keccak256(
            abi.encode(
                DOMAIN_TYPEHASH, keccak256("Scrip ComputeCredits"), keccak256("1"), block.chainid, address(credits)
            )
        );
        return MessageHashUtils.toTypedDataHash(domain, keccak256(abi.encode(TYPEHASH, approval)));
    }

    function _relay(Approval memory a, bytes memory signature) private {
        vm.prank(anyone);
        credits.setApprovalForAllBySig(a.owner, a.operator, a.approved, a.nonce, a.deadline, signature);
    }

    function _expectBadSignature(Approval memory approval, bytes memory signature, uint256 length) private {
        _expect(IUnorderedNonces.UnorderedNonces_BadSignature.selector, approval.owner, length, 65);
        _relay(approval, signature);
        assertFalse(nonces.isNonceUsed(approval.owner, approval.nonce), "the nonce isn't spent");
        assertFalse(credits.isApprovedForAll(approval.owner, approval.operator), "nothing is approved");
    }
}
