// SPDX-License-Identifier: MIT
pragma solidity ^0.8.30;

import {SessionTerms} from "./Types.sol";

/// @title Sessions: credits deposited with a provider and spent by cumulative signed vouchers.
interface IMeteredSessions {
    /// @notice What the chain stores of a session: one slot.
    /// @param deposit Base units deposited in all.
    /// @param claimed Base units the provider has claimed, at most `deposit`.
    /// @param closeAt Unix seconds from which anyone can close it; 0 while nobody asked; once it is closed, when that was.
    /// @param closed Ended for good: the same terms can't be opened again.
    struct Session {
        uint96 deposit;
        uint96 claimed;
        uint40 closeAt;
        bool closed;
    }

    /// @notice One claim: what the provider takes, and the voucher that lets it. A voucher authorises at most so much; a
    /// claim takes what was used of it. So a call can be authorised before anybody knows what it will cost.
    /// @param units Base units used since the session began: cumulative, at most `authorised` and the deposit.
    /// @param authorised The voucher's base units: cumulative, more than the deposit if its key wants.
    /// @param signature By the session key over `Voucher(sessionId,authorised)`.
    struct Claim {
        SessionTerms terms;
        uint128 units;
        uint128 authorised;
        bytes signature;
    }

    event SessionOpened(
        bytes32 indexed sessionId,
        address indexed payer,
        address indexed provider,
        uint256 classId,
        uint256 units,
        address key,
        uint40 expiresAt,
        uint256 budgetId,
        uint256 salt
    );
    event SessionToppedUp(bytes32 indexed sessionId, uint256 units, uint256 deposit);
    /// @param units Base units of this claim alone.
    event SessionClaimed(bytes32 indexed sessionId, address indexed provider, uint256 units);
    event CloseRequested(bytes32 indexed sessionId, address by, uint256 closeAt);
    event SessionClosed(bytes32 indexed sessionId, uint256 claimed, uint256 refunded);
    /// @notice A row of a batch was left out: its session is as it was. `reason` is the selector of the error that `claim`
    /// would have reverted with.
    event ClaimSkipped(bytes32 indexed sessionId, bytes4 reason, uint256 given, uint256 limit);
    /// @notice Arbiters found that the provider claimed what was not due.
    /// @param units Base units overcharged in all of the session, by this verdict.
    /// @param taken Stake that it took now.
    event SessionPenalised(
        bytes32 indexed sessionId, address indexed provider, address indexed reporter, uint256 units, uint256 taken
    );

    // Every error is (sessionId, given, limit). Addresses are given as numbers. AlreadyOpened and NotOpen give the status: 0
    // never opened, 1 open, 2 closed.
    error MeteredSessions_NotParty(bytes32 sessionId, uint256 given, uint256 limit);
    error MeteredSessions_BadSignature(bytes32 sessionId, uint256 given, uint256 limit);
    error MeteredSessions_BudgetMismatch(bytes32 sessionId, uint256 given, uint256 limit);
    error MeteredSessions_CannotServe(bytes32 sessionId, uint256 given, uint256 limit);
    error MeteredSessions_ZeroUnits(bytes32 sessionId, uint256 given, uint256 limit);
    error MeteredSessions_ZeroKey(bytes32 sessionId, uint256 given, uint256 limit);
    error MeteredSessions_DeadlinePassed(bytes32 sessionId, uint256 given, uint256 limit);
    error MeteredSessions_ExpiryTooFar(bytes32 sessionId, uint256 given, uint256 limit);
    error MeteredSessions_AlreadyOpened(bytes32 sessionId, uint256 given, uint256 limit);
    error MeteredSessions_NotOpen(bytes32 sessionId, uint256 given, uint256 limit);
    error MeteredSessions_Closing(bytes32 sessionId, uint256 given, uint256 limit);
    error MeteredSessions_NothingNew(bytes32 sessionId, uint256 given, uint256 limit);
    error MeteredSessions_OverDeposit(bytes32 sessionId, uint256 given, uint256 limit);
    error MeteredSessions_OverVoucher(bytes32 sessionId, uint256 given, uint256 limit);
    error MeteredSessions_WrongProvider(bytes32 sessionId, uint256 given, uint256 limit);
    error MeteredSessions_TooEarly(bytes32 sessionId, uint256 given, uint256 limit);
    error MeteredSessions_BadBatch(bytes32 sessionId, uint256 given, uint256 limit);
    error MeteredSessions_BadDelay(bytes32 sessionId, uint256 given, uint256 limit);
    error MeteredSessions_OverClaimed(bytes32 sessionId, uint256 given, uint256 limit);
    error MeteredSessions_ZeroReporter(bytes32 sessionId, uint256 given, uint256 limit);
    error MeteredSessions_NoArbiters(bytes32 sessionId, uint256 given, uint256 limit);
    /// @notice None stands behind the class's units, or all that the provider has stands behind something else.
    error MeteredSessions_NoStake(bytes32 sessionId, uint256 given, uint256 limit);
    /// @notice Too little gas is left to ask a key that is a contract. Never skips a row: send the call with more.
    error MeteredSessions_LittleGas(bytes32 sessionId, uint256 given, uint256 limit);

    /// @notice Deposits `units` of the caller's credits with a provider.
    /// @return sessionId `hashTerms(terms)`.
    function openSession(SessionTerms calldata terms, uint256 units) external returns (bytes32 sessionId);

    /// @notice `openSession` by the spender of the budget that the terms name; the payer owns the budget.
    function openSessionFor(SessionTerms calldata terms, uint256 units) external returns (bytes32 sessionId);

    /// @notice `openSession` or, with a budget, `openSessionFor`, for a payer or spender who signed
    /// `OpenSession(sessionId,units,deadline)`; anyone may send it.
    function openSessionBySig(SessionTerms calldata terms, uint256 units, uint256 deadline, bytes calldata signature)
        external
        returns (bytes32 sessionId);

    /// @notice Adds to the deposit. The payer or, with a budget, its spender instead; not while a close is pending.
    function topUp(SessionTerms calldata terms, uint256 units) external;

    /// @notice Pays the provider what was used since its last claim, and burns those credits. The provider or its oracle key,
    /// until the session is closed: others have no word in how much of a voucher was used.
    /// @dev A key that is a contract is asked by ERC-1271, with `KEY_GAS` gas.
    /// @return units Base units paid.
    function claim(Claim calldata row) external returns (uint256 units);

    /// @notice `claim` for many sessions of one provider; rows that can't are skipped and reported by `ClaimSkipped`. The
    /// provider or its oracle key.
    /// @return taken Rows that were paid.
    function claimBatch(address provider, Claim[] calldata rows) external returns (uint256 taken);

    /// @notice Starts the delay after which the session can be closed. Payer, key or budget's spender; anyone after
    /// `expiresAt`.
    function requestClose(SessionTerms calldata terms) external;

    /// @notice Ends the session and gives back what wasn't claimed. Anyone once the delay is over; the provider at any time.
    function close(SessionTerms calldata terms) external;

    /// @notice Takes `PENALTY` times the stake behind units that the provider claimed and was not due, as far as stake is
    /// free: half for the payer, the rest for the reporter. Anyone may send the verdict, while the session is open and for
    /// `AUDIT_PERIOD` after it was closed.
    /// @param units Base units overcharged since the session began, at most those claimed. Cumulative: what was taken by
    /// verdicts before counts, so that a verdict over more takes the difference, and one over as much nothing.
    /// @param reporter Who found it.
    /// @param signatures Of arbiters over `Overcharge(sessionId,units,reporter)`, sorted by ascending signer.
    /// @return taken Stake taken.
    function penalise(SessionTerms calldata terms, uint256 units, address reporter, bytes[] calldata signatures)
        external
        returns (uint256 taken);

    function sessions(bytes32 sessionId) external view returns (Session memory);

    /// @notice Stake that verdicts about a session took.
    function penaltyOf(bytes32 sessionId) external view returns (uint256);
    function chargeOf(bytes32 sessionId) external view returns (uint256);
    function hashTerms(SessionTerms calldata terms) external view returns (bytes32);

    /// @notice Digest of `Voucher(sessionId,units)`, where `units` are those that the key authorises.
    function voucherDigest(bytes32 sessionId, uint256 units) external view returns (bytes32);

    /// @notice Digest of `Overcharge(sessionId,units,reporter)` that arbiters sign.
    function overchargeDigest(bytes32 sessionId, uint256 units, address reporter) external view returns (bytes32);
}
