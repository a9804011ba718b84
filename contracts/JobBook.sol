// SPDX-License-Identifier: MIT
pragma solidity ^0.8.30;

import {EIP712} from "@openzeppelin/contracts/utils/cryptography/EIP712.sol";
import {ECDSA} from "@openzeppelin/contracts/utils/cryptography/ECDSA.sol";
import {SafeCast} from "@openzeppelin/contracts/utils/math/SafeCast.sol";
import {SignatureChecker} from "@openzeppelin/contracts/utils/cryptography/SignatureChecker.sol";
import {IComputeCredits} from "./interfaces/IComputeCredits.sol";
import {ICreditReserve} from "./interfaces/ICreditReserve.sol";
import {IJobMarket} from "./interfaces/IJobMarket.sol";
import {IProviderRegistry} from "./interfaces/IProviderRegistry.sol";
import {IReceiptVerifier} from "./interfaces/IReceiptVerifier.sol";
import {ISpendingBudgets} from "./interfaces/ISpendingBudgets.sol";
import {JobTerms, ReviewTerms, ServingTerms, SettlementTerms, Status, System, Usage} from "./interfaces/Types.sol";
import {JobRules} from "./libraries/JobRules.sol";

/// @title JobBook
/// @dev The jobs themselves: how one is opened, accepted and ended. `JobDisputes` and `JobMarket` build on it.
abstract contract JobBook is IJobMarket, EIP712 {
    /* CONSTANTS */

    IComputeCredits public immutable CREDITS;
    ICreditReserve public immutable RESERVE;
    IProviderRegistry public immutable REGISTRY;
    IReceiptVerifier public immutable VERIFIER;
    ISpendingBudgets public immutable BUDGETS;

    /* STORAGE */

    mapping(bytes32 jobId => Job) internal _jobs;

    /// @dev Rows of one class and provider that follow each other: their locks end, and they are burned and paid, in one go.
    struct Group {
        uint256 classId;
        Usage[] usages;
        uint256 count;
        SettlementTerms class_;
        ReviewTerms review;
        bool reviewed;
    }

    constructor(System memory system) EIP712("Scrip JobMarket", "1") {
        CREDITS = IComputeCredits(system.credits);
        RESERVE = ICreditReserve(system.reserve);
        REGISTRY = IProviderRegistry(system.registry);
        VERIFIER = IReceiptVerifier(system.verifier);
        BUDGETS = ISpendingBudgets(system.budgets);
    }

    /* VIEWS */

    /// @inheritdoc IJobMarket
    function jobs(bytes32 jobId) external view returns (Job memory) {
        return _jobs[jobId];
    }

    /// @inheritdoc IJobMarket
    function hashTerms(JobTerms calldata terms) public view returns (bytes32) {
        return _hashTypedDataV4(JobRules.hash(terms));
    }

    /// @inheritdoc IJobMarket
    function quoteDigest(bytes32 jobId) public view returns (bytes32) {
        return _hashTypedDataV4(keccak256(abi.encode(JobRules.QUOTE_TYPEHASH, jobId)));
    }

    /* INTERNAL: OPENING */

    /// @dev `agreed` is the payer, or the spender of the budget that the terms name. The caller checked its consent, and the
    /// budgets check that a spender may spend for this payer.
    function _open(bytes32 jobId, JobTerms calldata terms, address agreed, bytes calldata quote) internal {
        JobRules.checkTerms(jobId, terms);
        JobRules.checkStatus(jobId, _jobs[jobId].status, Status.None);
        uint96 charge;
        if (terms.budgetId != 0) {
            charge = SafeCast.toUint96(
                BUDGETS.charge(terms.budgetId, agreed, terms.payer, terms.provider, terms.classId, terms.maxUnits)
            );
        }
        bool quoted = quote.length != 0;
        // Truncated on purpose: 96 unpredictable bits are enough to date evidence, which is bound to the job besides.
        uint96 nonce = uint96(uint256(blockhash(block.number - 1)));
        _jobs[jobId] = Job(quoted ? Status.Running : Status.Open, uint40(block.timestamp), nonce, charge);
        emit JobOpened(
            jobId,
            terms.payer,
            terms.provider,
            terms.classId,
            terms.maxUnits,
            terms.resources,
            terms.acceptBy,
            terms.submitBy,
            terms.specHash,
            terms.budgetId,
            terms.salt,
            nonce
        );
        CREDITS.lock(terms.payer, terms.classId, terms.maxUnits);
        if (quoted) _acceptQuoted(jobId, terms, quote);
    }

    function _acceptQuoted(bytes32 jobId, JobTerms calldata terms, bytes calldata quote) internal {
        (address oracle, bool staked) = _serving(jobId, terms);
        _checkOracle(jobId, quoteDigest(jobId), oracle, quote);
        _accepted(jobId, terms, staked);
    }

    function _accepted(bytes32 jobId, JobTerms calldata terms, bool staked) internal {
        emit JobAccepted(jobId, terms.provider);
        if (staked) REGISTRY.reserveStake(terms.provider, _stakeOf(terms));
    }

    /// @dev The oracle key of a provider that may serve the job's class.
    function _serving(bytes32 jobId, JobTerms calldata terms) internal view returns (address oracle, bool staked) {
        ServingTerms memory class_ = CREDITS.servingTerms(terms.classId, terms.provider);
        oracle = REGISTRY.oracleFor(terms.provider, class_.requirement);
        if (oracle == address(0) || !class_.listed) {
            revert JobMarket_CannotServe(jobId, JobRules.number(terms.provider), terms.classId);
        }
        return (oracle, class_.staked);
    }

    /* INTERNAL: ENDING */

    /// @dev Ends an open or running job without pay.
    function _giveBack(bytes32 jobId, JobTerms calldata terms, Status from, Status to) internal {
        _end(jobId, terms, to, 0);
        Usage[] memory usages = new Usage[](1);
        usages[0] = Usage(terms.payer, terms.maxUnits, 0);
        CREDITS.settle(terms.classId, usages);
        if (from == Status.Running && CREDITS.settlementTerms(terms.classId).staked) {
            REGISTRY.freeStake(terms.provider, _stakeOf(terms));
        }
    }

    /// @dev Past `acceptBy` the same terms can't be opened again, so the slot need not remember that they were.
    function _end(bytes32 jobId, JobTerms calldata terms, Status status, uint256 used) internal {
        Job storage job = _jobs[jobId];
        uint256 charge = job.charge;
        if (block.timestamp > terms.acceptBy) delete _jobs[jobId];
        else job.status = status;
        if (charge != 0) {
            // Rounded down, so that no more comes back than went.
            uint256 rest = charge * (terms.maxUnits - used) / terms.maxUnits;
            if (rest != 0) BUDGETS.release(terms.budgetId, rest);
        }
    }

    /* INTERNAL: GROUPS */

    function _group(uint256 rows) internal pure returns (Group memory group) {
        group.usages = new Usage[](rows);
    }

    function _load(Group memory group, uint256 classId) internal view {
        (group.classId, group.class_, group.reviewed) = (classId, CREDITS.settlementTerms(classId), false);
    }

    /// @dev Most jobs need none of it, so it is read only when one does.
    function _review(Group memory group) internal view returns (ReviewTerms memory) {
        if (!group.reviewed) (group.review, group.reviewed) = (CREDITS.reviewTerms(group.classId), true);
        return group.review;
    }

    /// @dev Leaves what was used in the group; `_close` burns and pays it.
    function _settle(bytes32 jobId, JobTerms calldata terms, uint256 units, bytes32 receiptHash, Group memory group)
        internal
    {
        emit JobSettled(jobId, terms.provider, units, receiptHash);
        _add(jobId, terms, Status.Settled, units, group);
    }

    function _refund(bytes32 jobId, JobTerms calldata terms, bytes32 receiptHash, Group memory group) internal {
        emit JobRefunded(jobId, terms.provider, receiptHash);
        _add(jobId, terms, Status.Refunded, 0, group);
    }

    function _add(bytes32 jobId, JobTerms calldata terms, Status status, uint256 used, Group memory group) private {
        _end(jobId, terms, status, used);
        Usage memory usage = group.usages[group.count++];
        // Safe cast: what was used is at most `maxUnits`, a uint128.
        (usage.payer, usage.locked, usage.used) = (terms.payer, terms.maxUnits, uint128(used));
        if (group.class_.staked) REGISTRY.freeStake(terms.provider, JobRules.stakeFor(_review(group), terms.maxUnits));
    }

    /// @dev Burns what the group used, pays the provider, and empties the group.
    function _close(address provider, Group memory group) internal {
        uint256 count = group.count;
        if (count == 0) return;
        group.count = 0;
        Usage[] memory usages = group.usages;
        uint256 room = usages.length;
        // Shortened to what is filled for the call, then given back its room for the next group.
        assembly ("memory-safe") {
            mstore(usages, count)
        }
        (uint256 burned, uint256 supplyBefore) = CREDITS.settle(group.classId, usages);
        assembly ("memory-safe") {
            mstore(usages, room)
        }
        if (burned != 0) RESERVE.payOut(group.classId, provider, burned, supplyBefore);
    }

    /* INTERNAL: CHECKS */

    /// @dev `oracle` is zero for an unregistered provider; so is the signer of a malformed signature, hence both checks.
    function _checkOracle(bytes32 jobId, bytes32 digest, address oracle, bytes calldata signature) internal pure {
        (address signer,,) = ECDSA.tryRecoverCalldata(digest, signature);
        if (signer != oracle || signer == address(0)) {
            revert JobMarket_BadSignature(jobId, JobRules.number(signer), JobRules.number(oracle));
        }
    }

    /// @dev ECDSA or ERC-1271.
    function _checkSigner(bytes32 jobId, address signer, bytes32 digest, bytes calldata signature) internal view {
        if (!SignatureChecker.isValidSignatureNowCalldata(signer, digest, signature)) {
            revert JobMarket_BadSignature(jobId, signature.length, JobRules.number(signer));
        }
    }

    /// @dev Who agrees to a job: its payer, or the spender of its budget.
    function _agreeing(JobTerms calldata terms) internal view returns (address) {
        return terms.budgetId == 0 ? terms.payer : BUDGETS.spenderOf(terms.budgetId);
    }

    function _isProvider(address provider) internal view returns (bool) {
        return msg.sender == provider || msg.sender == REGISTRY.oracleOf(provider);
    }

    function _stakeOf(JobTerms calldata terms) internal view returns (uint256) {
        return JobRules.stakeFor(CREDITS.reviewTerms(terms.classId), terms.maxUnits);
    }
}
