// SPDX-License-Identifier: MIT
pragma solidity ^0.8.30;

import {ClassTerms, Funding} from "contracts/interfaces/Types.sol";
import {IDemoUSD} from "../support/IDemoUSD.sol";
import {Gremlin} from "./Gremlin.sol";
import {State} from "./State.sol";
import {Mood, WildToken} from "./WildToken.sol";

/// @dev What the system should do, worked out by the handler itself: who holds what, and which rule forbids a call. A
/// function named `_...Rule` returns the number of the rule, or 0 if nothing forbids it.
abstract contract Model is State {
    uint256 internal constant MAX_CLASSES = 16;
    uint256 internal constant KINDS = 14;
    uint128 internal constant STAKE_PRICE = 500_000;
    uint256 private constant FEED_AGE = 1 days;
    uint256 private constant FEED_DEVIATION = 2_000;

    /* CLASSES */

    /// @dev Classes that between them use every term a class can have. `sole` is the only provider, if there is one.
    function _kind(uint256 kind) internal view returns (ClassTerms memory t, address sole) {
        t = kind == 4 ? _grantTerms() : kind == 1 || kind == 3 ? _watchedTerms() : _saleTerms();
        if (kind == 2 || kind == 3 || kind == 7 || kind == 8 || kind == 12) {
            (t.challengeWindow, t.arbiterSet) = (WINDOW, uint32(arbiterSet));
        }
        // No decimals and a low price: the most rounding. And a rate that a receipt can exceed.
        if (kind == 2) (t.decimals, t.pricePerMillion, t.maxRate) = (0, 7, 1e11);
        if (kind == 3) t.transferable = false;
        if (kind == 5) (t.expiry, t.maxPerHolder, t.maxSupply) = (uint40(_now() + 30 days), MOST, 2 * MOST);
        if (kind == 6) t.paymentToken = address(wild);
        if (kind == 7) t.stakePerMillion = STAKE_PRICE;
        if (kind == 8 || kind == 9) {
            sole = providers[kind % 2].account;
            (t.issuer, t.expiry) = (sole, uint40(_now() + 30 days));
        }
        if (kind == 8) (t.funding, t.stakePerMillion) = (Funding.Stake, STAKE_PRICE);
        if (kind == 9) (t.capacityBound, t.maxRate, t.watcherSet) = (true, 1e9, uint32(watcherSet));
        if (kind == 10) {
            (t.priceFeed, t.maxPriceAge, t.maxDeviationBps) = (address(feed), uint32(FEED_AGE), uint16(FEED_DEVIATION));
        }
        if (kind == 11) (t.eligibility, t.region) = (address(allowList), REGION);
        // Two of a kind that is special each: account-bound and capped, watched, disputable and staked.
        if (kind == 12) (t.transferable, t.maxPerHolder, t.stakePerMillion) = (false, MOST, 2 * STAKE_PRICE);
        // Stake that only what was overcharged in sessions can cost: there is no window for jobs.
        if (kind == 13) (t.arbiterSet, t.stakePerMillion) = (uint32(arbiterSet), STAKE_PRICE);
    }

    function _newClass(uint256 kind) internal {
        (ClassTerms memory terms, address sole) = _kind(kind);
        uint256 id = _createClass(terms, sole == address(0) ? new address[](0) : _one(sole));
        _adopt(id, kind, terms);
    }

    function _adopt(uint256 id, uint256 kind, ClassTerms memory terms) internal {
        classes.push(id);
        termsOf[id] = terms;
        ghosts[id].kind = kind;
    }

    function _soleOf(uint256 id) internal view returns (address) {
        uint256 kind = ghosts[id].kind;
        return kind == 8 || kind == 9 ? termsOf[id].issuer : address(0);
    }

    /* GHOSTS OF CREDITS */

    function _minted(uint256 id, address to, uint256 units) internal {
        ghosts[id].supply += units;
        ghosts[id].held[to] += units;
    }

    function _burned(uint256 id, address from, uint256 units) internal {
        ghosts[id].supply -= units;
        ghosts[id].held[from] -= units;
    }

    function _moved(uint256 id, address from, address to, uint256 units) internal {
        ghosts[id].held[from] -= units;
        ghosts[id].held[to] += units;
    }

    /// @dev The gremlin and the wild token act on their own; what they got to do is booked like anybody's doing.
    function _syncWild() internal {
        Gremlin.Deed[] memory deeds = gremlin.takeDeeds();
        for (uint256 i; i < deeds.length; ++i) {
            _syncDeed(deeds[i]);
        }
        if (wild.mood() != Mood.Reenters) return;
        WildToken.Purchase[] memory purchases = wild.takePurchases();
        for (uint256 i; i < purchases.length; ++i) {
            _minted(reentered, issuer.addr, purchases[i].units);
            ++ghosts[reentered].roundings;
            paidIn[tokens[1]] += purchases[i].cost;
            _i14_rateFallsBySalesOnly(reentered);
        }
    }

    /// @dev Class that the wild token buys into.
    uint256 internal reentered;

    function _syncDeed(Gremlin.Deed memory deed) private {
        if (deed.reclaimed != 0) {
            _burned(deed.id, address(gremlin), deed.reclaimed);
            if (termsOf[deed.id].funding == Funding.Stake) _syncStake(deed.id, address(gremlin), deed.amount);
            else paidOut[_tokenOf(deed.id)] += deed.amount;
            ++ghosts[deed.id].roundings;
        }
        if (deed.sent != 0) _moved(deed.id, address(gremlin), bob.addr, deed.sent);
    }

    /// @dev `amount` of the issuer's stake became an award of `holder`.
    function _syncStake(uint256 id, address holder, uint256 amount) internal {
        _taken(_providerOf(termsOf[id].issuer), amount);
        awards[holder] += amount;
    }

    /// @dev Stake goes before what is unbonding.
    function _taken(Provider storage p, uint256 amount) internal {
        uint256 fromStaked = amount < p.staked ? amount : p.staked;
        p.staked -= fromStaked;
        p.unbonding -= amount - fromStaked;
    }

    /* RATES */

    /// @dev Rule 14, to be called whenever a class's backing or supply may have changed: what a unit is worth falls only
    /// by a sale, and by a sale never below the highest price that the class allows.
    function _i14_rateFallsBySalesOnly(uint256 id) internal {
        Ghost storage g = ghosts[id];
        (uint256 backing, uint256 supply) = (reserve.backingOf(id), credits.totalSupply(id));
        if (g.lastSupply != 0 && supply != 0 && !_isOver(id) && backing * g.lastSupply < g.lastBacking * supply) {
            if (supply <= g.lastSupply) _fail(14, "the rate fell without a sale");
            else if (backing * _priced(id) < supply * _topPrice(id)) _fail(14, "a sale diluted its class");
        }
        (g.lastBacking, g.lastSupply) = (backing, supply);
    }

    function _topPrice(uint256 id) private view returns (uint256) {
        ClassTerms storage t = termsOf[id];
        return uint256(t.pricePerMillion) + uint256(t.pricePerMillion) * t.maxDeviationBps / BPS;
    }

    /* RULES OF CLASSES */

    /// @dev Bringing units of a class into use.
    function _useRule(uint256 id) internal view returns (uint256) {
        return _isExpired(id) || _now() < ghosts[id].pausedUntil ? 21 : 0;
    }

    /// @dev Giving an account units that it hasn't.
    function _receiptRule(uint256 id, address to, uint256 units) internal view returns (uint256) {
        ClassTerms storage t = termsOf[id];
        if (t.maxPerHolder != 0 && ghosts[id].held[to] + ghosts[id].deposited[to] + units > t.maxPerHolder) return 19;
        if (t.eligibility != address(0) && !allowed[to]) return 22;
        return to == address(trick) && trickIsPlayed ? REASONS : 0;
    }

    bool internal trickIsPlayed;

    function _issueRule(uint256 id, address to, uint256 units) internal view returns (uint256) {
        if (_useRule(id) != 0 || ghosts[id].closed) return 21;
        if (ghosts[id].supply + units > termsOf[id].maxSupply) return 19;
        if (_exceedsStake(id, units) || _exceedsCapacity(id, units)) return 19;
        return _receiptRule(id, to, units);
    }

    function _saleRule(uint256 id, address buyer, address to, uint256 units) internal view returns (uint256) {
        if (termsOf[id].funding != Funding.Sale) return 7;
        if (termsOf[id].priceFeed != address(0) && !_feedIsGood()) return 17;
        uint256 rule = _issueRule(id, to, units);
        if (rule != 0) return rule;
        return _lies(_tokenOf(id), buyer, address(reserve)) ? 1 : 0;
    }

    function _feedIsGood() internal view returns (bool) {
        (, int256 up, uint256 upSince,,) = sequencer.latestRoundData();
        if (up != 0 || _now() < upSince + 1 hours) return false;
        (, int256 answer,, uint256 updatedAt,) = feed.latestRoundData();
        uint256 rate = uint256(answer) / 100;
        uint256 most = uint256(PRICE) * FEED_DEVIATION / BPS;
        return _now() <= updatedAt + FEED_AGE && rate <= PRICE + most && rate + most >= PRICE;
    }

    /* STAKE AND CAPACITY */

    function _exceedsStake(uint256 id, uint256 units) private view returns (bool) {
        if (termsOf[id].funding != Funding.Stake) return false;
        Provider storage p = _providerOf(termsOf[id].issuer);
        return _required(p.account, id, units) > p.staked;
    }

    /// @dev Stake behind a provider's jobs and classes if it had issued `more` units of class `id`.
    function _required(address account, uint256 id, uint256 more) internal view returns (uint256 amount) {
        amount = _reserved(account);
        for (uint256 i; i < classes.length; ++i) {
            ClassTerms storage t = termsOf[classes[i]];
            if (t.funding != Funding.Stake || t.issuer != account || _isOver(classes[i])) continue;
            uint256 supply = ghosts[classes[i]].supply + (classes[i] == id ? more : 0);
            amount += _ceil(supply * t.stakePerMillion, _priced(classes[i]));
        }
    }

    /// @dev Stake behind a provider's jobs.
    function _reserved(address account) internal view returns (uint256 amount) {
        for (uint256 i; i < live.length; ++i) {
            if (live[i].terms.provider == account) amount += live[i].stake;
        }
    }

    /// @dev Stake that is set aside for a job.
    function _stakeFor(uint256 id, uint256 units) internal view returns (uint256) {
        return termsOf[id].challengeWindow == 0 ? 0 : _stakeBehind(id, units);
    }

    function _stakeBehind(uint256 id, uint256 units) internal view returns (uint256) {
        return _ceil(units * termsOf[id].stakePerMillion, _priced(id));
    }

    function _exceedsCapacity(uint256 id, uint256 units) private view returns (bool) {
        if (!termsOf[id].capacityBound) return false;
        Provider storage p = _providerOf(termsOf[id].issuer);
        uint256 needed;
        for (uint256 i; i < classes.length; ++i) {
            ClassTerms storage t = termsOf[classes[i]];
            if (!t.capacityBound || t.issuer != p.account || _isOver(classes[i])) continue;
            needed += _ceil(ghosts[classes[i]].supply + (classes[i] == id ? units : 0), t.maxRate);
        }
        return needed > (p.until > _now() ? p.count * (p.until - _now()) : 0);
    }

    /* PRICES AND PROVIDERS */

    /// @dev What units cost at a fixed price, or what the reserve says for a feed.
    function _costOf(uint256 id, uint256 units) internal view returns (uint256) {
        if (termsOf[id].priceFeed != address(0)) return reserve.costOf(id, units);
        return _ceil(units * termsOf[id].pricePerMillion, _priced(id));
    }

    function _serveRule(uint256 id, address account) internal view returns (uint256) {
        Provider storage p = _providerOf(account);
        address sole = _soleOf(id);
        bool placed = termsOf[id].region == 0 || termsOf[id].region == p.region;
        return p.serving && placed && (sole == address(0) || sole == account) ? 0 : 22;
    }

    /// @dev A token that won't let go of money stops those who are paid in it, and nobody else.
    function _isStuck(IDemoUSD token, address from, address to) internal view returns (bool) {
        if (address(token) != address(wild)) return false;
        Mood mood = wild.mood();
        if (mood == Mood.Blocks) return from == wild.blocked() || to == wild.blocked();
        return mood == Mood.AnswersFalse || mood == Mood.Refuses;
    }

    /// @dev A token that delivers nothing, or another amount.
    function _lies(IDemoUSD token, address from, address to) internal view returns (bool) {
        if (address(token) != address(wild)) return false;
        Mood mood = wild.mood();
        return mood == Mood.KeepsPart || mood == Mood.AddsPart || _isStuck(token, from, to);
    }

    /* SIGNATURES */

    function _typed(string memory name, address verifying, bytes32 structHash) internal view returns (bytes32) {
        bytes32 domain = keccak256(
            abi.encode(
                keccak256("EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)"),
                keccak256(bytes(name)),
                keccak256("1"),
                block.chainid,
                verifying
            )
        );
        return keccak256(abi.encodePacked("\x19\x01", domain, structHash));
    }
}
