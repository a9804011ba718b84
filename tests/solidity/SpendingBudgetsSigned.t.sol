// SPDX-License-Identifier: MIT
pragma solidity ^0.8.30;

import {ISpendingBudgets} from "contracts/interfaces/ISpendingBudgets.sol";
import {IUnorderedNonces} from "contracts/interfaces/IUnorderedNonces.sol";
import {Limits} from "contracts/interfaces/Types.sol";
import {SpendingBudgetsBase} from "./SpendingBudgetsBase.t.sol";
import {ContractWallet} from "./support/Wallets.sol";

/// @dev The five changes that a relayer sends for who signed them.
contract SpendingBudgetsSignedTest is SpendingBudgetsBase {
    string private constant LIMITS =
        "Limits(address spender,uint96 perAction,uint96 perPeriod,uint96 lifetime,uint32 period,uint40 expiry,bool listed)";
    string private constant CREATE_BUDGET =
        "CreateBudget(address owner,address token,Limits limits,address[] providers,uint256 nonce,uint256 deadline)";
    string private constant CREATE_CHILD =
        "CreateChild(address controller,uint256 parent,Limits limits,address[] providers,uint256 nonce,uint256 deadline)";
    string private constant SET_BUDGET =
        "SetBudget(address controller,uint256 budgetId,Limits limits,uint256 nonce,uint256 deadline)";
    string private constant SET_PROVIDERS =
        "SetProviders(address controller,uint256 budgetId,address[] providers,bool listed,uint256 nonce,uint256 deadline)";
    string private constant REVOKE = "Revoke(address controller,uint256 budgetId,uint256 nonce,uint256 deadline)";

    /// @dev The five kinds of call.
    uint256 private constant KINDS = 5;

    /// @dev One signed call on the tree of `setUp`, whatever its kind.
    struct Order {
        uint256 kind;
        address signer;
        uint256 budgetId;
        address token;
        Limits limits;
        address[] providers;
        bool listed;
        uint256 nonce;
        uint256 deadline;
    }

    uint256[] private _ids;

    function setUp() public override {
        super.setUp();
        _ids = _chain(2);
    }

    /* REVERTS */

    function testFuzz_RevertWhen_SignedByAnother(uint256 kind, uint256 seed) public {
        Order memory order = _order(kind, alice.addr);
        Account memory other = makeAccount(vm.toString(seed));
        _expectBadSignature(order, _sign(other, _digest(order)));
    }

    function testFuzz_RevertWhen_SignatureIsMalformed(uint256 kind, bytes memory signature) public {
        vm.assume(signature.length != 65);
        _expectBadSignature(_order(kind, alice.addr), signature);
    }

    function testFuzz_RevertWhen_SignedForNobody(uint256 kind, bytes32 r, bytes32 s, uint8 v) public {
        _expectBadSignature(_order(kind, address(0)), abi.encodePacked(r, s, v));
    }

    /// @dev Whatever a relayer changes, it isn't what was signed.
    function testFuzz_RevertWhen_RelayerChangesTheCall(uint256 kind, uint256 field, uint256 by) public {
        Order memory order = _order(kind, alice.addr);
        bytes memory signature = _sign(alice, _digest(order));
        _alter(order, field, by);
        _expectBadSignature(order, signature);
    }

    function testFuzz_RevertWhen_DeadlineIsPast(uint256 kind, uint256 late) public {
        Order memory order = _order(kind, alice.addr);
        bytes memory signature = _sign(alice, _digest(order));
        late = bound(late, order.deadline + 1, type(uint40).max);
        vm.warp(late);
        bytes4 reason = IUnorderedNonces.UnorderedNonces_DeadlinePassed.selector;
        _expect(reason, alice.addr, late, order.deadline);
        _send(order, signature);
    }

    function testFuzz_RevertWhen_UsedTwice(uint256 kind) public {
        Order memory order = _order(kind, alice.addr);
        bytes memory signature = _sign(alice, _digest(order));
        _send(order, signature);
        _expect(IUnorderedNonces.UnorderedNonces_Used.selector, alice.addr, order.nonce, 1);
        _send(order, signature);
    }

    /// @dev One nonce serves one call, of whichever kind.
    function testFuzz_RevertWhen_NonceServedAnotherKind(uint256 kind, uint256 other) public {
        (kind, other) = (bound(kind, 0, KINDS - 1), bound(other, 0, KINDS - 1));
        vm.assume(kind != other);
        Order memory order = _order(kind, alice.addr);
        _send(order, _sign(alice, _digest(order)));
        order.kind = other;
        bytes memory signature = _sign(alice, _digest(order));
        _expect(IUnorderedNonces.UnorderedNonces_Used.selector, alice.addr, order.nonce, 1);
        _send(order, signature);
    }

    /// @dev A signer can take back what it signed.
    function testFuzz_RevertWhen_NonceWasCancelled(uint256 kind) public {
        Order memory order = _order(kind, alice.addr);
        bytes memory signature = _sign(alice, _digest(order));
        vm.prank(alice.addr);
        IUnorderedNonces(address(budgets)).useNonce(order.nonce);
        _expect(IUnorderedNonces.UnorderedNonces_Used.selector, alice.addr, order.nonce, 1);
        _send(order, signature);
    }

    function testFuzz_RevertWhen_SignedForAnotherChain(uint256 kind, uint64 chainId) public {
        chainId = uint64(bound(chainId, 1, type(uint64).max - 1));
        vm.assume(chainId != block.chainid);
        Order memory order = _order(kind, alice.addr);
        bytes memory signature = _sign(alice, _digest(order));
        vm.chainId(chainId);
        _expectBadSignature(order, signature);
    }

    function testFuzz_RevertWhen_SignerIsNotTheController(uint256 kind) public {
        kind = bound(kind, 1, KINDS - 1);
        Order memory order = _order(kind, bob.addr);
        bytes memory signature = _sign(bob, _digest(order));
        _expect(ISpendingBudgets.SpendingBudgets_NotController.selector, order.budgetId, bob.addr, alice.addr);
        _send(order, signature);
        assertFalse(_isUsed(bob.addr, order.nonce), "the nonce is still good");
    }

    function testFuzz_RevertWhen_WalletDidNotApprove(uint256 kind) public {
        _expectBadSignature(_order(kind, address(new ContractWallet())), "any");
    }

    /* SUCCESS */

    function testFuzz_BySig(uint256 kind, uint256 nonce, address relayer) public {
        Order memory order = _order(kind, alice.addr);
        order.nonce = nonce;
        bytes memory signature = _sign(alice, _digest(order));
        vm.expectEmit(address(budgets));
        emit IUnorderedNonces.NonceUsed(alice.addr, nonce);
        vm.prank(relayer);
        _call(order, signature);
        assertTrue(_isUsed(alice.addr, nonce), "nonce used");
        _assertDone(order);
    }

    /// @dev In the very second of the deadline.
    function testFuzz_BySig_AtTheDeadline(uint256 kind) public {
        Order memory order = _order(kind, alice.addr);
        bytes memory signature = _sign(alice, _digest(order));
        vm.warp(order.deadline);
        _send(order, signature);
        _assertDone(order);
    }

    /// @dev ERC-1271: a wallet owns a tree, divides it, changes it and ends it.
    function testFuzz_BySig_OfAContractWallet(bytes memory signature) public {
        ContractWallet wallet = new ContractWallet();
        Order memory order = _order(0, address(wallet));
        wallet.approve(_digest(order));
        _send(order, signature);
        uint256 id = budgets.budgetCount();
        assertEq(budgets.ownerOf(id), address(wallet), "the wallet's");
        for (uint256 kind = 1; kind < KINDS; ++kind) {
            order = _order(kind, address(wallet));
            (order.budgetId, order.nonce) = (id, kind);
            wallet.approve(_digest(order));
            _send(order, signature);
            _assertDone(order);
        }
    }

    /// @dev The spender of the parent signs as a controller, too; a spender signs its own budget's end.
    function testFuzz_BySig_OfASpender(bool parents) public {
        Account memory agent = makeAccount("agent");
        _set(parents ? _ids[0] : _ids[1], _limits(agent.addr));
        Order memory order = _order(4, agent.addr);
        bytes memory signature = _sign(agent, _digest(order));
        vm.expectEmit(address(budgets));
        emit ISpendingBudgets.BudgetRevoked(order.budgetId, agent.addr);
        _send(order, signature);
        _assertDone(order);
    }

    /* ORDERS */

    function _order(uint256 kind, address signer) private view returns (Order memory order) {
        order.kind = bound(kind, 0, KINDS - 1);
        order.signer = signer;
        order.budgetId = _ids[1];
        order.token = address(usd);
        order.limits = Limits(bob.addr, 11, 22, 33, PERIOD, uint40(START + 30 days), true);
        order.providers = _one(anyone);
        order.listed = true;
        order.nonce = 7;
        order.deadline = _now() + 1 hours;
    }

    /// @dev Changes one field that calls of its kind carry.
    function _alter(Order memory order, uint256 field, uint256 by) private view {
        by = bound(by, 1, 1_000);
        uint256 kind = order.kind;
        field = bound(field, 0, 5);
        // Calls that end a budget carry its id, a nonce and a deadline alone.
        if (kind == 4) field = field % 3;
        if (field == 0 && kind == 0) order.token = address(uint160(order.token) + uint160(by));
        else if (field == 0) order.budgetId += by;
        else if (field == 1) order.nonce += by;
        else if (field == 2) order.deadline += by;
        else if (field == 3 && kind == 3) order.listed = false;
        else if (field == 3) order.limits.lifetime += uint96(by);
        else if (field == 4 && kind != 2) order.providers[0] = address(uint160(order.providers[0]) + uint160(by));
        else if (field == 4 || kind != 3) _alterLimits(order.limits, by);
        else order.providers = _nobody();
    }

    function _alterLimits(Limits memory limits, uint256 by) private pure {
        uint256 field = by % 6;
        if (field == 0) limits.spender = address(uint160(limits.spender) + uint160(by));
        if (field == 1) limits.perAction += uint96(by);
        if (field == 2) limits.perPeriod += uint96(by);
        if (field == 3) limits.period += uint32(by);
        if (field == 4) limits.expiry += uint40(by);
        if (field == 5) limits.listed = false;
    }

    function _digest(Order memory o) private view returns (bytes32) {
        bytes32 limits = keccak256(abi.encode(keccak256(bytes(LIMITS)), o.limits));
        bytes32 providers = keccak256(abi.encodePacked(o.providers));
        bytes memory data;
        if (o.kind == 0) {
            bytes32 typehash = keccak256(bytes(string.concat(CREATE_BUDGET, LIMITS)));
            data = abi.encode(typehash, o.signer, o.token, limits, providers, o.nonce, o.deadline);
        } else if (o.kind == 1) {
            bytes32 typehash = keccak256(bytes(string.concat(CREATE_CHILD, LIMITS)));
            data = abi.encode(typehash, o.signer, o.budgetId, limits, providers, o.nonce, o.deadline);
        } else if (o.kind == 2) {
            bytes32 typehash = keccak256(bytes(string.concat(SET_BUDGET, LIMITS)));
            data = abi.encode(typehash, o.signer, o.budgetId, limits, o.nonce, o.deadline);
        } else if (o.kind == 3) {
            bytes32 typehash = keccak256(bytes(SET_PROVIDERS));
            data = abi.encode(typehash, o.signer, o.budgetId, providers, o.listed, o.nonce, o.deadline);
        } else {
            data = abi.encode(keccak256(bytes(REVOKE)), o.signer, o.budgetId, o.nonce, o.deadline);
        }
        return keccak256(abi.encodePacked(hex"1901", _domain(), keccak256(data)));
    }

    function _domain() private view returns (bytes32) {
        return keccak256(
            abi.encode(
                keccak256("EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)"),
                keccak256("Scrip SpendingBudgets"),
                keccak256("1"),
                block.chainid,
                address(budgets)
            )
        );
    }

    function _send(Order memory order, bytes memory signature) private {
        vm.prank(anyone);
        _call(order, signature);
    }

    function _call(Order memory o, bytes memory sig) private {
        if (o.kind == 0) {
            budgets.createBudgetBySig(o.signer, o.token, o.limits, o.providers, o.nonce, o.deadline, sig);
        } else if (o.kind == 1) {
            budgets.createChildBySig(o.signer, o.budgetId, o.limits, o.providers, o.nonce, o.deadline, sig);
        } else if (o.kind == 2) {
            budgets.setBudgetBySig(o.signer, o.budgetId, o.limits, o.nonce, o.deadline, sig);
        } else if (o.kind == 3) {
            budgets.setProvidersBySig(o.signer, o.budgetId, o.providers, o.listed, o.nonce, o.deadline, sig);
        } else {
            budgets.revokeBySig(o.signer, o.budgetId, o.nonce, o.deadline, sig);
        }
    }

    function _assertDone(Order memory o) private view {
        if (o.kind == 0) _assertFresh(budgets.budgetCount(), 0, 1, o.signer, o.limits);
        if (o.kind == 1) {
            uint256 depth = budgets.budgetOf(o.budgetId).depth + 1;
            _assertFresh(budgets.budgetCount(), o.budgetId, depth, budgets.ownerOf(o.budgetId), o.limits);
        }
        if (o.kind == 2) _assertLimits(budgets.budgetOf(o.budgetId).limits, o.limits);
        if (o.kind == 3) assertTrue(budgets.isListed(o.budgetId, o.providers[0]), "listed");
        if (o.kind == 4) assertTrue(budgets.budgetOf(o.budgetId).revoked, "revoked");
    }

    function _isUsed(address account, uint256 nonce) private view returns (bool) {
        return IUnorderedNonces(address(budgets)).isNonceUsed(account, nonce);
    }

    function _expectBadSignature(Order memory order, bytes memory signature) private {
        bytes4 reason = IUnorderedNonces.UnorderedNonces_BadSignature.selector;
        _expect(reason, order.signer, signature.length, 65);
        _send(order, signature);
    }
}
