// SPDX-License-Identifier: MIT
pragma solidity ^0.8.30;

import {EIP712} from "@openzeppelin/contracts/utils/cryptography/EIP712.sol";
import {Math} from "@openzeppelin/contracts/utils/math/Math.sol";
import {SignatureChecker} from "@openzeppelin/contracts/utils/cryptography/SignatureChecker.sol";
import {ICreditReserve} from "./interfaces/ICreditReserve.sol";
import {IMeteredSessions} from "./interfaces/IMeteredSessions.sol";
import {ISpendingBudgets} from "./interfaces/ISpendingBudgets.sol";
import {ServingTerms, SessionTerms, System} from "./interfaces/Types.sol";
import {SessionAudits} from "./SessionAudits.sol";
import {SessionRules} from "./libraries/SessionRules.sol";

/// @title MeteredSessions
/// @dev Trust model.
/// - Credits come in only from a payer who called or signed, or through a budget of that payer by its spender. They
///   leave only to be burned for a claim, or back to that payer.
/// - A provider claims what was used by its own word, within what the session key authorised and the deposit. So a payer
///   risks with a dishonest provider, or a thief of its oracle key, what it authorised and the provider has not earned,
///   never more. Nobody else can claim: the rest of a voucher that is public would be paid for nothing. What was claimed
///   and not due can be charged back from stake: see `SessionAudits`.
/// - Whoever holds the session key can spend the deposit with this one provider and can ask for the session to be closed;
///   it can't move credits anywhere else.
/// - A payer gets back what wasn't claimed, `CLOSE_DELAY` after asking. Until the session is closed the provider can
///   claim, so it must claim at least once in that time. A key that is a contract may change its mind about a voucher:
///   a provider that accepts such a key trusts its code.
/// - What a claim pays is rounded down to a base unit of the payment token. Past the reserve's `SWEEP_DELAY` after a
///   class's expiry claims pay nothing: provide no longer.
/// - There is no role, no owner and no pause. A session that nobody closes can be closed by anyone after its expiry.
/// - Other people's code (signers, session keys, price feeds) is only ever called statically, so it can't come back in;
///   a session key gets bounded gas besides, so that it can't stop a batch. State is written before anything is called.
contract MeteredSessions is SessionAudits {
    /* CONSTANTS */

    bytes32 public constant OPEN_TYPEHASH = keccak256("OpenSession(bytes32 sessionId,uint256 units,uint256 deadline)");
    uint256 public constant MIN_CLOSE_DELAY = 1 hours;
    uint256 public constant MAX_CLOSE_DELAY = 30 days;
    uint256 public constant MAX_LIFETIME = SessionRules.MAX_LIFETIME;
    uint256 public constant KEY_GAS = SessionRules.KEY_GAS;

    ICreditReserve public immutable RESERVE;
    ISpendingBudgets public immutable BUDGETS;
    uint256 public immutable CLOSE_DELAY;

    /* STORAGE */

    /// @dev Written only for sessions that name a budget.
    mapping(bytes32 sessionId => uint256) private _charges;

    /* CONSTRUCTOR */

    constructor(System memory system, uint256 closeDelay) EIP712("Scrip MeteredSessions", "1") SessionAudits(system) {
        if (closeDelay < MIN_CLOSE_DELAY) revert MeteredSessions_BadDelay(0, closeDelay, MIN_CLOSE_DELAY);
        if (closeDelay > MAX_CLOSE_DELAY) revert MeteredSessions_BadDelay(0, closeDelay, MAX_CLOSE_DELAY);
        RESERVE = ICreditReserve(system.reserve);
        BUDGETS = ISpendingBudgets(system.budgets);
        CLOSE_DELAY = closeDelay;
    }

    /* OPENING */

    /// @inheritdoc IMeteredSessions
    function openSession(SessionTerms calldata terms, uint256 units) external returns (bytes32 sessionId) {
        sessionId = hashTerms(terms);
        if (msg.sender != terms.payer) _refuse(sessionId, terms.payer);
        if (terms.budgetId != 0) revert MeteredSessions_BudgetMismatch(sessionId, terms.budgetId, 0);
        _open(sessionId, terms, units, address(0));
    }

    /// @inheritdoc IMeteredSessions
    function openSessionFor(SessionTerms calldata terms, uint256 units) external returns (bytes32 sessionId) {
        sessionId = hashTerms(terms);
        if (terms.budgetId == 0) revert MeteredSessions_BudgetMismatch(sessionId, 0, 1);
        _open(sessionId, terms, units, msg.sender);
    }

    /// @inheritdoc IMeteredSessions
    function openSessionBySig(SessionTerms calldata terms, uint256 units, uint256 deadline, bytes calldata signature)
        external
        returns (bytes32 sessionId)
    {
        sessionId = hashTerms(terms);
        if (block.timestamp > deadline) revert MeteredSessions_DeadlinePassed(sessionId, block.timestamp, deadline);
        address signer = _opener(terms);
        bytes32 digest = _hashTypedDataV4(keccak256(abi.encode(OPEN_TYPEHASH, sessionId, units, deadline)));
        if (!SignatureChecker.isValidSignatureNowCalldata(signer, digest, signature)) {
            revert MeteredSessions_BadSignature(sessionId, signature.length, SessionRules.number(signer));
        }
        _open(sessionId, terms, units, signer);
    }

    /// @inheritdoc IMeteredSessions
    function topUp(SessionTerms calldata terms, uint256 units) external {
        bytes32 sessionId = hashTerms(terms);
        Session storage session = _sessions[sessionId];
        SessionRules.checkOpen(sessionId, session);
        _checkNotClosing(sessionId, session.closeAt);
        address opener = _opener(terms);
        if (msg.sender != opener) _refuse(sessionId, opener);
        if (units == 0) revert MeteredSessions_ZeroUnits(sessionId, 0, 1);
        uint96 deposit = _raise(sessionId, session, units);
        emit SessionToppedUp(sessionId, units, deposit);
        _takeIn(sessionId, terms, units, opener);
    }

    /* CLAIMS */

    /// @inheritdoc IMeteredSessions
    function claim(Claim calldata row) external returns (uint256 units) {
        bytes32 domain = _domainSeparatorV4();
        bytes32 sessionId = SessionRules.id(domain, row.terms);
        _checkProvider(sessionId, row.terms.provider);
        Session storage session = _sessions[sessionId];
        (bytes4 reason, uint256 given, uint256 limit) =
            SessionRules.fault(sessionId, session, row, row.terms.provider, domain);
        if (reason != 0) SessionRules.raise(reason, sessionId, given, limit);
        units = _take(sessionId, session, row);
        _payOut(row.terms.classId, row.terms.provider, units);
    }

    /// @inheritdoc IMeteredSessions
    function claimBatch(address provider, Claim[] calldata rows) external returns (uint256 taken) {
        if (rows.length == 0) revert MeteredSessions_BadBatch(0, 0, 1);
        _checkProvider(0, provider);
        bytes32 domain = _domainSeparatorV4();
        // Rows of one class that follow each other are burned and paid in one go.
        uint256 classId;
        uint256 sum;
        for (uint256 i; i < rows.length; ++i) {
            Claim calldata row = rows[i];
            uint256 units = _takeRow(row, provider, domain);
            if (units == 0) continue;
            if (row.terms.classId != classId) {
                if (sum != 0) _payOut(classId, provider, sum);
                (classId, sum) = (row.terms.classId, 0);
            }
            sum += units;
            ++taken;
        }
        if (sum != 0) _payOut(classId, provider, sum);
    }

    /* CLOSING */

    /// @inheritdoc IMeteredSessions
    function requestClose(SessionTerms calldata terms) external {
        bytes32 sessionId = hashTerms(terms);
        Session storage session = _sessions[sessionId];
        SessionRules.checkOpen(sessionId, session);
        _checkNotClosing(sessionId, session.closeAt);
        if (!_mayRequestClose(terms)) _refuse(sessionId, terms.payer);
        uint256 closeAt = block.timestamp + CLOSE_DELAY;
        // Safe cast: the delay is at most 30 days.
        session.closeAt = uint40(closeAt);
        emit CloseRequested(sessionId, msg.sender, closeAt);
    }

    /// @inheritdoc IMeteredSessions
    function close(SessionTerms calldata terms) external {
        bytes32 sessionId = hashTerms(terms);
        Session storage session = _sessions[sessionId];
        SessionRules.checkOpen(sessionId, session);
        if (msg.sender != terms.provider) _checkCloseable(sessionId, session.closeAt);
        (uint256 deposit, uint256 claimed) = (session.deposit, session.claimed);
        uint256 left = deposit - claimed;
        // When it ended: verdicts about it are taken for a while. Safe cast: block times stay below 2**40.
        (session.closeAt, session.closed) = (uint40(block.timestamp), true);
        emit SessionClosed(sessionId, claimed, left);
        if (terms.budgetId != 0) _release(sessionId, terms.budgetId, left, deposit);
        // Even of nothing: the deposit stops counting towards the payer's cap on holdings.
        CREDITS.refund(terms.payer, terms.classId, left, deposit);
    }

    /* VIEWS */

    /// @inheritdoc IMeteredSessions
    function sessions(bytes32 sessionId) external view returns (Session memory) {
        return _sessions[sessionId];
    }

    /// @inheritdoc IMeteredSessions
    function chargeOf(bytes32 sessionId) external view returns (uint256) {
        return _charges[sessionId];
    }

    /// @inheritdoc IMeteredSessions
    function hashTerms(SessionTerms calldata terms) public view returns (bytes32) {
        return SessionRules.id(_domainSeparatorV4(), terms);
    }

    /// @inheritdoc IMeteredSessions
    function voucherDigest(bytes32 sessionId, uint256 units) external view returns (bytes32) {
        return SessionRules.voucherDigest(_domainSeparatorV4(), sessionId, units);
    }

    /* INTERNAL: OPENING */

    /// @dev The caller checked that `spender` agreed, or that the payer did where no budget is named; whether `spender`
    /// may spend the budget is for the budget to say.
    function _open(bytes32 sessionId, SessionTerms calldata terms, uint256 units, address spender) private {
        SessionRules.checkTerms(sessionId, terms, units);
        Session storage session = _sessions[sessionId];
        uint256 status = SessionRules.statusOf(session);
        if (status != SessionRules.NONE) revert MeteredSessions_AlreadyOpened(sessionId, status, SessionRules.NONE);
        _checkServing(sessionId, terms);
        _raise(sessionId, session, units);
        emit SessionOpened(
            sessionId,
            terms.payer,
            terms.provider,
            terms.classId,
            units,
            terms.key,
            terms.expiresAt,
            terms.budgetId,
            terms.salt
        );
        _takeIn(sessionId, terms, units, spender);
    }

    /// @dev Many top-ups can add up to more than ever existed at once.
    function _raise(bytes32 sessionId, Session storage session, uint256 units) private returns (uint96 deposit) {
        deposit = session.deposit;
        uint256 room = type(uint96).max - deposit;
        if (units > room) revert MeteredSessions_OverDeposit(sessionId, units, room);
        // Safe cast: `units` was just compared.
        deposit += uint96(units);
        session.deposit = deposit;
    }

    function _takeIn(bytes32 sessionId, SessionTerms calldata terms, uint256 units, address spender) private {
        if (terms.budgetId != 0) {
            uint256 value = BUDGETS.charge(terms.budgetId, spender, terms.payer, terms.provider, terms.classId, units);
            _charges[sessionId] += value;
        }
        CREDITS.deposit(terms.payer, terms.classId, units);
    }

    function _checkServing(bytes32 sessionId, SessionTerms calldata terms) private view {
        ServingTerms memory class_ = CREDITS.providerTerms(terms.classId, terms.provider);
        if (class_.listed && REGISTRY.trustedOracleIfItQualifies(terms.provider, class_.requirement) != address(0)) {
            return;
        }
        revert MeteredSessions_CannotServe(sessionId, SessionRules.number(terms.provider), terms.classId);
    }

    /// @dev Who decides about deposits: the payer, or the spender of the budget that is charged for them.
    function _opener(SessionTerms calldata terms) private view returns (address) {
        return terms.budgetId == 0 ? terms.payer : BUDGETS.spenderOf(terms.budgetId);
    }

    /* INTERNAL: CLAIMS */

    /// @return units Base units taken; 0 if the row was reported instead and nothing changed.
    function _takeRow(Claim calldata row, address provider, bytes32 domain) private returns (uint256 units) {
        bytes32 sessionId = SessionRules.id(domain, row.terms);
        Session storage session = _sessions[sessionId];
        (bytes4 reason, uint256 given, uint256 limit) = SessionRules.fault(sessionId, session, row, provider, domain);
        if (reason == 0) return _take(sessionId, session, row);
        emit ClaimSkipped(sessionId, reason, given, limit);
    }

    /// @dev Only after `SessionRules.fault` found nothing; never zero then.
    function _take(bytes32 sessionId, Session storage session, Claim calldata row) private returns (uint256 units) {
        uint256 total = row.units;
        units = total - session.claimed;
        // Safe cast: at most the deposit, a uint96.
        session.claimed = uint96(total);
        emit SessionClaimed(sessionId, row.terms.provider, units);
    }

    function _payOut(uint256 classId, address provider, uint256 units) private {
        uint256 supplyBefore = CREDITS.spend(classId, units);
        RESERVE.creditEarningsOnBurn(classId, provider, units, supplyBefore);
    }

    /* INTERNAL: CLOSING */

    function _release(bytes32 sessionId, uint256 budgetId, uint256 left, uint256 deposit) private {
        uint256 value = Math.mulDiv(_charges[sessionId], left, deposit);
        delete _charges[sessionId];
        if (value != 0) BUDGETS.release(budgetId, value);
    }

    function _mayRequestClose(SessionTerms calldata terms) private view returns (bool) {
        if (msg.sender == terms.payer || msg.sender == terms.key) return true;
        return block.timestamp > terms.expiresAt || msg.sender == _opener(terms);
    }

    /* INTERNAL: CHECKS */

    function _checkProvider(bytes32 sessionId, address provider) private view {
        if (msg.sender != provider && msg.sender != REGISTRY.oracleNowServing(provider)) _refuse(sessionId, provider);
    }

    function _checkNotClosing(bytes32 sessionId, uint256 closeAt) private view {
        if (closeAt != 0) revert MeteredSessions_Closing(sessionId, block.timestamp, closeAt);
    }

    function _checkCloseable(bytes32 sessionId, uint256 closeAt) private view {
        if (closeAt == 0) revert MeteredSessions_TooEarly(sessionId, block.timestamp, type(uint256).max);
        if (block.timestamp < closeAt) revert MeteredSessions_TooEarly(sessionId, block.timestamp, closeAt);
    }

    function _refuse(bytes32 sessionId, address needed) private view {
        revert MeteredSessions_NotParty(sessionId, SessionRules.number(msg.sender), SessionRules.number(needed));
    }
}
