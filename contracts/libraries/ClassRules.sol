// SPDX-License-Identifier: MIT
pragma solidity ^0.8.30;

import {IComputeCredits} from "../interfaces/IComputeCredits.sol";
import {IReceiptVerifier} from "../interfaces/IReceiptVerifier.sol";
import {ClassTerms, Funding, Resource} from "../interfaces/Types.sol";
import {ClassFlags} from "./ClassFlags.sol";

/// @title What the terms of a class may be.
/// @dev Fields are numbered by their position in `ClassTerms`, which is what `ComputeCredits_BadTerm` names.
library ClassRules {
    uint256 internal constant MAX_PROVIDERS = 64;
    uint256 internal constant MAX_NAME_BYTES = 64;
    uint256 internal constant MAX_DECIMALS = 18;
    uint256 internal constant MAX_ASSURANCE = 3;
    uint256 internal constant MAX_CHALLENGE_WINDOW = 30 days;
    uint256 internal constant MAX_PRICE_AGE = 7 days;
    uint256 private constant WATCHED_ASSURANCE = 2;
    uint256 private constant BPS = 10_000;

    /// @param classId Id the class is going to have.
    function check(uint256 classId, ClassTerms calldata t, address[] calldata providers) internal view {
        _check(1, uint256(t.resource), 1, uint256(type(Resource).max));
        _check(2, t.decimals, 0, MAX_DECIMALS);
        _checkIssuance(t);
        _checkReview(t);
        _checkPrice(t);
        _check(23, bytes(t.name).length, 1, MAX_NAME_BYTES);
        _checkProviders(classId, t, providers);
    }

    /// @dev A set that never came into force could sign nothing: what waits for its signatures would wait for ever.
    function checkSet(uint256 classId, IReceiptVerifier verifier, uint256 set) internal view {
        if (set != 0 && verifier.thresholdOf(set) == 0) {
            revert IComputeCredits.ComputeCredits_UnknownSet(classId, set, verifier.setCount());
        }
    }

    function flags(ClassTerms calldata t, bool listed) internal pure returns (uint256 bits) {
        bool windowed = t.challengeWindow != 0;
        if (t.transferable) bits = ClassFlags.TRANSFERABLE;
        if (t.maxPerHolder != 0 || t.eligibility != address(0)) bits |= ClassFlags.RESTRICTED;
        if (listed) bits |= ClassFlags.LISTED;
        if (windowed) bits |= ClassFlags.WINDOWED;
        // By the job also where the class is stake-funded: what stands behind its credits belongs to all of their holders,
        // and a verdict about one job must not take it from the others.
        if (windowed && t.stakePerMillion != 0) bits |= ClassFlags.STAKED;
        if (_isBound(t)) bits |= ClassFlags.BOUND;
        if (t.priceFeed != address(0)) bits |= ClassFlags.FEED;
    }

    function _isBound(ClassTerms calldata t) private pure returns (bool) {
        return t.funding == Funding.Stake || t.capacityBound;
    }

    function _checkIssuance(ClassTerms calldata t) private view {
        if (t.capacityBound) _check(5, 1, 0, t.funding == Funding.Grant ? 0 : 1);
        _check(9, t.maxRate, 1, type(uint64).max);
        // What stands behind a stake-funded class is the provider's own: it must be free again some day.
        if (t.expiry != 0 || t.funding == Funding.Stake) _check(10, t.expiry, block.timestamp + 1, type(uint40).max);
        // With supplies below 2**96, sums of balances can't overflow, and a class's state fits one slot.
        _check(11, t.maxSupply, 1, type(uint96).max);
        _check(12, t.maxPerHolder, 0, type(uint96).max);
    }

    function _checkReview(ClassTerms calldata t) private pure {
        bool windowed = t.challengeWindow != 0;
        bool staked = t.funding == Funding.Stake;
        _check(6, t.minAssurance, 0, MAX_ASSURANCE);
        bool watched = t.capacityBound || t.minAssurance >= WATCHED_ASSURANCE;
        _check(7, t.watcherSet, watched ? 1 : 0, type(uint32).max);
        _check(8, t.challengeWindow, 0, MAX_CHALLENGE_WINDOW);
        _check(20, t.arbiterSet, windowed ? 1 : 0, type(uint32).max);
        // Stake is lost by a verdict alone, about a job in its window or about a session, and without arbiters there is none.
        _check(21, t.stakePerMillion, staked ? 1 : 0, staked || t.arbiterSet != 0 ? type(uint128).max : 0);
    }

    function _checkPrice(ClassTerms calldata t) private pure {
        bool sold = t.funding == Funding.Sale;
        bool fed = t.priceFeed != address(0);
        bool priced = t.pricePerMillion != 0;
        _check(15, uint160(t.paymentToken), sold || priced ? 1 : 0, type(uint160).max);
        _check(16, t.pricePerMillion, t.paymentToken != address(0) ? 1 : 0, type(uint96).max);
        _check(17, uint160(t.priceFeed), 0, sold ? type(uint160).max : 0);
        _check(18, t.maxPriceAge, fed ? 1 : 0, fed ? MAX_PRICE_AGE : 0);
        _check(22, t.maxDeviationBps, fed ? 1 : 0, fed ? BPS : 0);
    }

    /// @dev What the issuer's stake or capacity stands behind, only the issuer can be asked to serve.
    function _checkProviders(uint256 classId, ClassTerms calldata t, address[] calldata providers) private pure {
        if (providers.length > MAX_PROVIDERS) {
            revert IComputeCredits.ComputeCredits_TooManyProviders(classId, providers.length, MAX_PROVIDERS);
        }
        if (!_isBound(t)) return;
        address sole = providers.length == 1 ? providers[0] : address(0);
        if (sole != t.issuer) revert IComputeCredits.ComputeCredits_NotIssuer(classId, sole, t.issuer);
    }

    function _check(uint256 field, uint256 given, uint256 min, uint256 max) private pure {
        if (given < min) revert IComputeCredits.ComputeCredits_BadTerm(field, given, min);
        if (given > max) revert IComputeCredits.ComputeCredits_BadTerm(field, given, max);
    }
}
