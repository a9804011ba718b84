// SPDX-License-Identifier: MIT
pragma solidity ^0.8.30;

import {EIP712} from "@openzeppelin/contracts/utils/cryptography/EIP712.sol";
import {Math} from "@openzeppelin/contracts/utils/math/Math.sol";
import {IComputeCredits} from "./interfaces/IComputeCredits.sol";
import {IMeteredSessions} from "./interfaces/IMeteredSessions.sol";
import {IProviderRegistry} from "./interfaces/IProviderRegistry.sol";
import {IReceiptVerifier} from "./interfaces/IReceiptVerifier.sol";
import {ReviewTerms, SessionTerms, System} from "./interfaces/Types.sol";
import {JobRules} from "./libraries/JobRules.sol";
import {SessionRules} from "./libraries/SessionRules.sol";

/// @title SessionAudits
/// @dev What a provider claimed and was not due: others run a sample of its calls again, arbiters decide, stake pays.
/// Trust model.
/// - A threshold of the class's arbiters says how much of what a provider claimed was not due, and who reported it. With
///   a payer who is one of them they can take `PENALTY` times the stake behind what the provider claimed in that payer's
///   sessions: claiming is how a provider agrees to a class's arbiters and its stake.
/// - They reach stake that stands behind nothing else: neither what is set aside for jobs nor what backs credits.
/// - What is taken goes to the session's payer and to the reporter that was signed for; whoever sends a verdict gains
///   nothing by it. Credits that were burned stay burned, so no verdict touches a class's backing or its holders.
abstract contract SessionAudits is IMeteredSessions, EIP712 {
    /* CONSTANTS */

    bytes32 public constant OVERCHARGE_TYPEHASH =
        keccak256("Overcharge(bytes32 sessionId,uint256 units,address reporter)");
    /// @dev Where as much stake as price stands behind a class, overcharging doesn't pay on average once one call in so
    /// many is run again, even if those alone are ever charged back. And half of it, the payer's, is at least what the
    /// payer lost wherever a fifth of the price stands behind the class.
    uint256 public constant PENALTY = 10;
    /// @dev From the end of a session, which the provider can bring about itself. No longer than stake usually unbonds:
    /// later there may be none.
    uint256 public constant AUDIT_PERIOD = 14 days;

    IComputeCredits public immutable CREDITS;
    IProviderRegistry public immutable REGISTRY;
    IReceiptVerifier public immutable VERIFIER;

    /* STORAGE */

    mapping(bytes32 sessionId => Session) internal _sessions;
    /// @dev Stake taken, not units found: where stake was short, the same verdict takes the rest when there is some, so
    /// that a provider can't use a verdict up while its stake is tied.
    mapping(bytes32 sessionId => uint256) private _penalties;

    /* CONSTRUCTOR */

    constructor(System memory system) {
        CREDITS = IComputeCredits(system.credits);
        REGISTRY = IProviderRegistry(system.registry);
        VERIFIER = IReceiptVerifier(system.verifier);
    }

    /* VERDICTS */

    /// @inheritdoc IMeteredSessions
    function penalise(SessionTerms calldata terms, uint256 units, address reporter, bytes[] calldata signatures)
        external
        returns (uint256 taken)
    {
        bytes32 sessionId = SessionRules.id(_domainSeparatorV4(), terms);
        _checkAuditable(sessionId, units);
        if (reporter == address(0)) revert MeteredSessions_ZeroReporter(sessionId, 0, 1);
        ReviewTerms memory class_ = CREDITS.reviewTerms(terms.classId);
        if (class_.arbiterSet == 0) revert MeteredSessions_NoArbiters(sessionId, 0, 1);
        if (class_.stakePerMillion == 0) revert MeteredSessions_NoStake(sessionId, 0, 1);
        VERIFIER.verify(class_.arbiterSet, overchargeDigest(sessionId, units, reporter), signatures);
        uint256 before = _penalties[sessionId];
        uint256 due = PENALTY * JobRules.stakeFor(class_, units);
        if (due <= before) revert MeteredSessions_NothingNew(sessionId, due, before);
        taken = Math.min(due - before, REGISTRY.freeStakeOf(terms.provider));
        if (taken == 0) revert MeteredSessions_NoStake(sessionId, 0, due - before);
        _penalties[sessionId] = before + taken;
        emit SessionPenalised(sessionId, terms.provider, reporter, units, taken);
        REGISTRY.slash(sessionId, terms.provider, taken, terms.payer, reporter);
    }

    /* VIEWS */

    /// @inheritdoc IMeteredSessions
    function penaltyOf(bytes32 sessionId) external view returns (uint256) {
        return _penalties[sessionId];
    }

    /// @inheritdoc IMeteredSessions
    function overchargeDigest(bytes32 sessionId, uint256 units, address reporter) public view returns (bytes32) {
        return _hashTypedDataV4(keccak256(abi.encode(OVERCHARGE_TYPEHASH, sessionId, units, reporter)));
    }

    /* INTERNAL */

    function _checkAuditable(bytes32 sessionId, uint256 units) private view {
        Session storage session = _sessions[sessionId];
        uint256 status = SessionRules.statusOf(session);
        if (status == SessionRules.NONE) revert MeteredSessions_NotOpen(sessionId, status, SessionRules.OPEN);
        if (session.closed && block.timestamp > session.closeAt + AUDIT_PERIOD) {
            revert MeteredSessions_DeadlinePassed(sessionId, block.timestamp, session.closeAt + AUDIT_PERIOD);
        }
        if (units > session.claimed) revert MeteredSessions_OverClaimed(sessionId, units, session.claimed);
    }
}
