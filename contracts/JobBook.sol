// SPDX-License-Identifier: MIT
pragma solidity ^0.8.30;

import {EIP712} from "@openzeppelin/contracts/utils/cryptography/EIP712.sol";
import {ECDSA} from "@openzeppelin/contracts/utils/cryptography/ECDSA.sol";
import {MessageHashUtils} from "@openzeppelin/contracts/utils/cryptography/MessageHashUtils.sol";
import {SafeCast} from "@openzeppelin/contracts/utils/math/SafeCast.sol";
import {SignatureChecker} from "@openzeppelin/contracts/utils/cryptography/SignatureChecker.sol";
import {IComputeCredits} from "./interfaces/IComputeCredits.sol";
import {ICreditReserve} from "./interfaces/ICreditReserve.sol";
import {IJobMarket} from "./interfaces/IJobMarket.sol";
import {IProviderRegistry} from "./interfaces/IProviderRegistry.sol";
import {IReceiptVerifier} from "./interfaces/IReceiptVerifier.sol";
import {ISpendingBudgets} from "./interfaces/ISpendingBudgets.sol";
import {JobTerms, ReviewTerms, Status, System} from "./interfaces/Types.sol";
import {ClassPolicy} from "./libraries/ClassPolicy.sol";
import {JobRules} from "./libraries/JobRules.sol";
import {JobSlot} from "./libraries/JobSlot.sol";
import {JobWords} from "./libraries/JobWords.sol";
import {UsageList} from "./libraries/UsageList.sol";

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

    /// @dev Words of `JobSlot`.
    mapping(bytes32 jobId => uint256) internal _jobs;

    /// @dev `usages` is a `UsageList` with `count` rows. Rows of one class and provider that follow each other: their locks end, and they are burned and paid, in one go.
    struct Group {
        uint256 classId;
        uint256 usages;
        uint256 count;
        uint256 maxRate;
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
        return JobSlot.unpack(_jobs[jobId]);
    }

    /// @inheritdoc IJobMarket
    function hashTerms(JobTerms calldata terms) public view returns (bytes32) {
        return _idOf(_domainSeparatorV4(), terms);
    }

    /// @inheritdoc IJobMarket
    function quoteDigest(bytes32 jobId) public view returns (bytes32) {
        return _hashTypedDataV4(keccak256(abi.encode(JobRules.QUOTE_TYPEHASH, jobId)));
    }

    /* INTERNAL: OPENING */

    /// @dev A batch asks for the domain once instead of for each row.
    function _idOf(bytes32 domain, JobTerms calldata terms) internal pure returns (bytes32) {
        return MessageHashUtils.toTypedDataHash(domain, JobRules.hash(terms));
    }

    /// @dev `agreed` is the payer, or the spender of the budget that the terms name. The caller checked its consent, and the
    /// budgets check that a spender may spend for this payer.
    function _open(bytes32 jobId, JobTerms calldata terms, address agreed, bytes calldata quote) internal {
        JobRules.checkTerms(jobId, terms);
        JobRules.checkStatus(jobId, JobSlot.status(_jobs[jobId]), Status.None);
        uint256 charge;
        if (terms.budgetId != 0) {
            charge = BUDGETS.charge(terms.budgetId, agreed, terms.payer, terms.provider, terms.classId, terms.maxUnits);
            SafeCast.toUint96(charge);
        }
        bool quoted = quote.length != 0;
        // Truncated on purpose: 96 unpredictable bits are enough to date evidence, which is bound to the job besides.
        uint96 nonce = uint96(uint256(blockhash(block.number - 1)));
        uint256 policy = CREDITS.lockUnits(JobWords.payer(terms), terms.classId, JobWords.maxUnits(terms));
        _jobs[jobId] = JobSlot.pack(quoted ? Status.Running : Status.Open, block.timestamp, nonce, charge, policy);
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
            nonce,
            quoted
        );
        if (quoted) _acceptQuoted(jobId, terms, policy, quote);
    }

    /// @param policy `CREDITS.policyOf` the class.
    function _acceptQuoted(bytes32 jobId, JobTerms calldata terms, uint256 policy, bytes calldata quote) internal {
        _checkOracle(jobId, quoteDigest(jobId), _serving(jobId, terms, policy), quote);
        _reserve(terms, policy);
    }

    function _reserve(JobTerms calldata terms, uint256 policy) internal {
        if (ClassPolicy.isStaked(policy)) REGISTRY.reserveStake(terms.provider, _stakeOf(terms));
    }

    /// @dev The oracle key of a provider that may serve the job's class.
    function _serving(bytes32 jobId, JobTerms calldata terms, uint256 policy) internal view returns (address oracle) {
        oracle = REGISTRY.trustedOracleIfItQualifies(JobWords.provider(terms), ClassPolicy.requirement(policy));
        bool listed = !ClassPolicy.isListed(policy) || CREDITS.isListed(terms.classId, terms.provider);
        if (oracle == address(0) || !listed) {
            revert JobMarket_CannotServe(jobId, JobRules.number(terms.provider), terms.classId);
        }
    }

    /* INTERNAL: ENDING */

    /// @dev Ends an open or running job without pay.
    function _giveBack(bytes32 jobId, uint256 job, JobTerms calldata terms, Status to) internal {
        _end(jobId, job, terms, to, 0);
        uint256 usages = UsageList.create(1);
        UsageList.set(usages, 0, terms.payer, terms.maxUnits, 0);
        UsageList.release(usages, 1, CREDITS, terms.classId);
        if (JobSlot.status(job) == Status.Running && ClassPolicy.isStaked(JobSlot.policy(job))) {
            REGISTRY.freeStake(terms.provider, _stakeOf(terms));
        }
    }

    /// @dev Past `acceptBy` the same terms can't be opened again, so the slot need not remember that they were.
    function _end(bytes32 jobId, uint256 job, JobTerms calldata terms, Status status, uint256 used) private {
        _jobs[jobId] = block.timestamp > JobWords.acceptBy(terms) ? 0 : JobSlot.withStatus(job, status);
        uint256 charge = JobSlot.charge(job);
        if (charge != 0) {
            // Rounded down, so that no more comes back than went.
            uint256 rest = charge * (terms.maxUnits - used) / terms.maxUnits;
            if (rest != 0) BUDGETS.release(terms.budgetId, rest);
        }
    }

    /* INTERNAL: GROUPS */

    function _group(uint256 rows) internal pure returns (Group memory group) {
        group.usages = UsageList.create(rows);
    }

    function _load(Group memory group, uint256 classId) internal view {
        (group.classId, group.maxRate, group.reviewed) = (classId, CREDITS.classRateCeiling(classId), false);
    }

    /// @dev Most jobs need none of it, so it is read only when one does.
    function _review(Group memory group) internal view returns (ReviewTerms memory) {
        if (!group.reviewed) (group.review, group.reviewed) = (CREDITS.reviewTerms(group.classId), true);
        return group.review;
    }

    /// @dev Leaves what was used in the group; `_close` burns and pays it.
    function _settle(
        bytes32 jobId,
        uint256 job,
        JobTerms calldata terms,
        uint256 units,
        bytes32 receiptHash,
        Group memory group
    ) internal {
        emit JobSettled(jobId, JobWords.provider(terms), units, receiptHash);
        _add(jobId, job, terms, Status.Settled, units, group);
    }

    function _refund(bytes32 jobId, uint256 job, JobTerms calldata terms, bytes32 receiptHash, Group memory group)
        internal
    {
        emit JobRefunded(jobId, terms.provider, receiptHash);
        _add(jobId, job, terms, Status.Refunded, 0, group);
    }

    function _add(bytes32 jobId, uint256 job, JobTerms calldata terms, Status status, uint256 used, Group memory group)
        private
    {
        _end(jobId, job, terms, status, used);
        UsageList.set(group.usages, group.count++, JobWords.payer(terms), JobWords.maxUnits(terms), used);
        if (ClassPolicy.isStaked(JobSlot.policy(job))) {
            REGISTRY.freeStake(terms.provider, JobRules.stakeFor(_review(group), terms.maxUnits));
        }
    }

    /// @dev Burns what the group used, pays the provider, and empties the group.
    function _close(address provider, Group memory group) internal {
        uint256 count = group.count;
        if (count == 0) return;
        group.count = 0;
        (uint256 burned, uint256 supplyBefore) = UsageList.release(group.usages, count, CREDITS, group.classId);
        if (burned != 0) RESERVE.creditEarningsOnBurn(group.classId, provider, burned, supplyBefore);
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
        return msg.sender == provider || msg.sender == REGISTRY.oracleNowServing(provider);
    }

    function _stakeOf(JobTerms calldata terms) internal view returns (uint256) {
        return JobRules.stakeFor(CREDITS.reviewTerms(terms.classId), terms.maxUnits);
    }
}
