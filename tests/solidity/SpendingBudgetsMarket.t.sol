// SPDX-License-Identifier: MIT
pragma solidity ^0.8.30;

import {IJobMarket} from "contracts/interfaces/IJobMarket.sol";
import {ISpendingBudgets} from "contracts/interfaces/ISpendingBudgets.sol";
import {Attestation, JobTerms, Limits, Outcome, Receipt as JobReceipt, Status} from "contracts/interfaces/Types.sol";
import {SpendingBudgetsBase} from "./SpendingBudgetsBase.t.sol";

/// @dev Jobs of alice's, opened by the spender of a budget two levels deep: what each end of a job gives back.
contract SpendingBudgetsMarketTest is SpendingBudgetsBase {
    Account private _agent = makeAccount("agent");
    uint256[] private _ids;

    function setUp() public override {
        super.setUp();
        _ids = _chain(2);
        _set(_ids[1], _limits(_agent.addr));
    }

    /* OPENING: REVERTS */

    function test_RevertWhen_OpenNamesABudget() public {
        JobTerms memory terms = _ready(1);
        bytes32 jobId = market.hashTerms(terms);
        _expect(IJobMarket.JobMarket_BudgetMismatch.selector, jobId, _ids[1], 0);
        vm.prank(alice.addr);
        market.open(terms, "");
    }

    function test_RevertWhen_OpenForNamesNone() public {
        JobTerms memory terms = _ready(1);
        terms.budgetId = 0;
        bytes32 jobId = market.hashTerms(terms);
        _expect(IJobMarket.JobMarket_BudgetMismatch.selector, jobId, 0, 1);
        _openFor(terms);
    }

    /// @dev Not the owner either: it opens its own jobs without a budget.
    function testFuzz_RevertWhen_OpenedByAnother(address caller) public {
        vm.assume(caller != _agent.addr);
        JobTerms memory terms = _ready(1);
        _expect(ISpendingBudgets.SpendingBudgets_NotSpender.selector, _ids[1], caller, _agent.addr);
        vm.prank(caller);
        market.openFor(terms, "");
    }

    /// @dev A spender can't turn its budget on the credits of somebody else.
    function testFuzz_RevertWhen_PayerIsAnother(address payer) public {
        vm.assume(payer != alice.addr);
        JobTerms memory terms = _ready(1);
        terms.payer = payer;
        _expect(ISpendingBudgets.SpendingBudgets_WrongPayer.selector, _ids[1], payer, alice.addr);
        _openFor(terms);
    }

    function testFuzz_RevertWhen_JobIsOverBudget(uint128 units, bool atTheRoot) public {
        JobTerms memory terms = _ready(bound(units, 1, MAX_UNITS));
        uint96 cap = uint96(_price(terms.maxUnits) - 1);
        uint256 id = _ids[atTheRoot ? 0 : 1];
        Limits memory limits = _limits(atTheRoot ? spenders[0] : _agent.addr);
        limits.lifetime = cap;
        _set(id, limits);
        _expect(ISpendingBudgets.SpendingBudgets_OverLifetime.selector, id, uint256(cap) + 1, cap);
        _openFor(terms);
    }

    function test_RevertWhen_RevokedBeforeOpening() public {
        JobTerms memory terms = _ready(1);
        bytes memory signature = _sign(_agent, market.hashTerms(terms));
        _revoke(_ids[0]);
        _expect(ISpendingBudgets.SpendingBudgets_Revoked.selector, _ids[0], 1, 0);
        _openFor(terms);
        _expect(ISpendingBudgets.SpendingBudgets_Revoked.selector, _ids[0], 1, 0);
        _openBySig(terms, signature);
    }

    /// @dev With a budget the owner's signature isn't what counts.
    function test_RevertWhen_OwnerSignedInPlaceOfTheSpender() public {
        JobTerms memory terms = _ready(1);
        bytes32 jobId = market.hashTerms(terms);
        bytes memory signature = _sign(alice, jobId);
        _expect(IJobMarket.JobMarket_BadSignature.selector, jobId, 65, _number(_agent.addr));
        _openBySig(terms, signature);
    }

    /* OPENING: SUCCESS */

    function testFuzz_OpenFor(uint128 units) public {
        JobTerms memory terms = _ready(bound(units, 1, MAX_UNITS));
        uint256 value = _price(terms.maxUnits);
        vm.expectEmit(address(budgets));
        emit ISpendingBudgets.BudgetCharged(_ids[1], provider.addr, value);
        bytes32 jobId = _openFor(terms);
        assertEq(market.jobs(jobId).charge, value, "the job remembers the charge");
        _assertStatus(jobId, Status.Open);
        _assertSpent(_ids, value);
        _assertLocked(alice.addr, plain, terms.maxUnits, "the owner pays");
    }

    function testFuzz_OpenBySig(uint128 units) public {
        JobTerms memory terms = _ready(bound(units, 1, MAX_UNITS));
        bytes32 jobId = market.hashTerms(terms);
        _openBySig(terms, _sign(_agent, jobId));
        assertEq(market.jobs(jobId).charge, _price(terms.maxUnits), "charge");
        _assertSpent(_ids, _price(terms.maxUnits));
        _assertLocked(alice.addr, plain, terms.maxUnits, "the owner pays");
    }

    /* ENDS THAT GIVE ALL BACK */

    function testFuzz_Cancel_GivesAllBack(uint128 units, uint256 who) public {
        (JobTerms memory terms, bytes32 jobId) = _opened(units);
        address[3] memory parties = [_agent.addr, alice.addr, provider.addr];
        _expectRelease(_price(terms.maxUnits));
        vm.prank(parties[bound(who, 0, 2)]);
        market.cancel(terms);
        _assertStatus(jobId, Status.Cancelled);
        _assertSpent(_ids, 0);
    }

    function testFuzz_RevertWhen_CancelBySigTooLate(uint128 units, uint40 late) public {
        (JobTerms memory terms, bytes32 jobId) = _opened(units);
        uint256 deadline = _now();
        bytes memory signature = _sign(_agent, _cancelDigest(jobId, deadline));
        late = uint40(bound(late, deadline + 1, type(uint40).max));
        vm.warp(late);
        _expect(IJobMarket.JobMarket_DeadlinePassed.selector, jobId, late, deadline);
        market.cancelBySig(terms, deadline, signature);
    }

    function testFuzz_RevertWhen_CancelBySigOfAnother(uint128 units) public {
        (JobTerms memory terms, bytes32 jobId) = _opened(units);
        bytes memory signature = _sign(bob, _cancelDigest(jobId, _now()));
        _expect(IJobMarket.JobMarket_BadSignature.selector, jobId, signature.length, uint160(_agent.addr));
        market.cancelBySig(terms, _now(), signature);
    }

    function testFuzz_CancelBySig_GivesAllBack(uint128 units) public {
        (JobTerms memory terms, bytes32 jobId) = _opened(units);
        _expectRelease(_price(terms.maxUnits));
        bytes memory signature = _sign(_agent, _cancelDigest(jobId, _now()));
        market.cancelBySig(terms, _now(), signature);
        _assertSpent(_ids, 0);
    }

    function testFuzz_Expire_GivesAllBack(uint128 units, bool running) public {
        (JobTerms memory terms,) = running ? _running(units) : _opened(units);
        vm.warp(uint256(running ? terms.submitBy : terms.acceptBy) + 1);
        _expectRelease(_price(terms.maxUnits));
        vm.prank(anyone);
        market.expire(terms);
        _assertEnded(terms, Status.Expired);
        _assertSpent(_ids, 0);
    }

    function testFuzz_Failure_GivesAllBack(uint128 units) public {
        (JobTerms memory terms, bytes32 jobId) = _running(units);
        JobReceipt memory receipt = _failed(jobId);
        _expectRelease(_price(terms.maxUnits));
        _submit(terms, receipt);
        _assertEnded(terms, Status.Refunded);
        _assertSpent(_ids, 0);
    }

    /* SETTLEMENTS */

    /// @dev What went unused comes back, rounded down: never less counts than the work cost at class price.
    function testFuzz_Settle_GivesTheRestBack(uint128 units, uint128 used) public {
        (JobTerms memory terms, bytes32 jobId) = _running(units);
        used = uint128(bound(used, 0, terms.maxUnits));
        uint256 charged = _price(terms.maxUnits);
        uint256 rest = charged * (terms.maxUnits - used) / terms.maxUnits;
        JobReceipt memory receipt = _receipt(jobId, used);
        if (rest != 0) _expectRelease(rest);
        _submit(terms, receipt);
        _assertEnded(terms, Status.Settled);
        _assertSpent(_ids, charged - rest);
        assertGe((charged - rest) * PRICE_UNITS, uint256(used) * PRICE, "at least the price of what was used");
    }

    function testFuzz_Settle_WholeGivesNothingBack(uint128 units) public {
        (JobTerms memory terms, bytes32 jobId) = _running(units);
        JobReceipt memory receipt = _receipt(jobId, terms.maxUnits);
        vm.expectCall(address(budgets), abi.encodePacked(ISpendingBudgets.release.selector), 0);
        _submit(terms, receipt);
        _assertSpent(_ids, _price(terms.maxUnits));
    }

    /// @dev Neither revoking nor expiring nor replacing the spender holds a settlement up.
    function testFuzz_Settle_OfADeadBudget(uint128 units, uint256 fate, bool atTheRoot) public {
        (JobTerms memory terms, bytes32 jobId) = _running(units);
        uint256 id = _ids[atTheRoot ? 0 : 1];
        Limits memory limits = _limits(bob.addr);
        fate = bound(fate, 0, 2);
        if (fate == 0) _revoke(id);
        if (fate == 1) limits.expiry = 1;
        if (fate != 0) _set(id, limits);
        uint256 charged = _price(terms.maxUnits);
        JobReceipt memory receipt = _receipt(jobId, terms.maxUnits / 2);
        _submit(terms, receipt);
        _assertEnded(terms, Status.Settled);
        _assertSpent(_ids, charged - charged * (terms.maxUnits - terms.maxUnits / 2) / terms.maxUnits);
        _assertLocked(alice.addr, plain, 0, "nothing stays locked");
    }

    /// @dev Rows of a batch give back to their own budgets, or to none.
    function testFuzz_SettleBatch(uint128 units, uint128 used) public {
        uint256 other = _child(_ids[0], _limits(_agent.addr));
        units = uint128(bound(units, 1, MAX_UNITS));
        used = uint128(bound(used, 0, units));
        JobTerms[] memory terms = new JobTerms[](3);
        JobReceipt[] memory receipts = new JobReceipt[](3);
        for (uint256 i; i < 3; ++i) {
            terms[i] = _ready(units);
            terms[i].budgetId = i == 0 ? _ids[1] : i == 1 ? other : 0;
            bytes memory quote = _quote(terms[i], oracle);
            vm.prank(i == 2 ? alice.addr : _agent.addr);
            bytes32 jobId = i == 2 ? market.open(terms[i], quote) : market.openFor(terms[i], quote);
            receipts[i] = _receipt(jobId, i == 0 ? used : 0);
        }
        Attestation memory attestation = _attestBatch(receipts, 0);
        assertEq(market.submitBatch(terms, receipts, 0, attestation), 3, "taken");
        uint256 charged = _price(units);
        uint256 kept = charged - charged * (units - used) / units;
        assertEq(_spent(_ids[1]), kept, "first budget");
        assertEq(_spent(other), 0, "second budget");
        assertEq(_spent(_ids[0]), kept, "root");
    }

    /// @dev Period caps count what was opened, whatever came of it.
    function test_Cancel_LeavesThePeriodUsed() public {
        Limits memory limits = _limits(_agent.addr);
        (limits.period, limits.perPeriod) = (PERIOD, 100);
        _set(_ids[1], limits);
        JobTerms memory terms = _ready(PRICE_UNITS * 60 / PRICE);
        _openFor(terms);
        vm.prank(_agent.addr);
        market.cancel(terms);
        terms.salt += 1_000;
        _expect(ISpendingBudgets.SpendingBudgets_OverPeriod.selector, _ids[1], 60, 40);
        _openFor(terms);
    }

    /* HELPERS */

    function _ready(uint256 units) private returns (JobTerms memory terms) {
        _buy(alice.addr, plain, units);
        terms = _terms(plain, units);
        terms.budgetId = _ids[1];
    }

    function _openFor(JobTerms memory terms) private returns (bytes32) {
        vm.prank(_agent.addr);
        return market.openFor(terms, "");
    }

    function _openBySig(JobTerms memory terms, bytes memory signature) private {
        vm.prank(anyone);
        market.openBySig(terms, signature, "");
    }

    function _opened(uint128 units) private returns (JobTerms memory terms, bytes32 jobId) {
        terms = _ready(bound(units, 1, MAX_UNITS));
        jobId = _openFor(terms);
    }

    function _running(uint128 units) private returns (JobTerms memory terms, bytes32 jobId) {
        terms = _ready(bound(units, 1, MAX_UNITS));
        bytes memory quote = _quote(terms, oracle);
        vm.prank(_agent.addr);
        jobId = market.openFor(terms, quote);
    }

    function _expectRelease(uint256 value) private {
        vm.expectEmit(address(budgets));
        emit ISpendingBudgets.BudgetReleased(_ids[1], value);
    }

    function _cancelDigest(bytes32 jobId, uint256 deadline) private view returns (bytes32) {
        bytes32 domain = keccak256(
            abi.encode(
                keccak256("EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)"),
                keccak256("Scrip JobMarket"),
                keccak256("1"),
                block.chainid,
                address(market)
            )
        );
        bytes32 order = keccak256(abi.encode(keccak256("Cancel(bytes32 jobId,uint256 deadline)"), jobId, deadline));
        return keccak256(abi.encodePacked(hex"1901", domain, order));
    }
}
