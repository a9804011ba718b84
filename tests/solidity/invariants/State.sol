// SPDX-License-Identifier: MIT
pragma solidity ^0.8.30;

import {ClassTerms, Funding, JobTerms, Status} from "contracts/interfaces/Types.sol";
import {Base} from "../Base.t.sol";
import {IDemoUSD} from "../support/IDemoUSD.sol";
import {DishonestToken} from "../support/DishonestToken.sol";
import {Gremlin} from "../support/Gremlin.sol";

/// @dev The system under test, who acts on it, and what the handler itself remembers of it (ghosts).
abstract contract State is Base {
    /// @dev A provider and its two oracle keys, of which one is in use.
    struct Provider {
        address account;
        Account[2] keys;
        uint256 inUse;
    }

    /// @dev A job that was opened. `units` is what its receipt claims, once there is one. `next` is how the call on its way
    /// would end it: the slot of a job that ended late is empty.
    struct Tracked {
        JobTerms terms;
        bytes32 id;
        Status last;
        uint256 units;
        uint256 ends;
        Status next;
    }

    uint256 internal constant MAX_CLASSES = 12;
    uint128 internal constant MOST = 1e15;

    /* ACTORS */

    Account[] internal buyers;
    Provider[] internal providers;
    /// @dev Everybody who can hold credits or be paid, the market apart.
    address[] internal holders;
    Gremlin internal gremlin;

    /* GHOSTS */

    uint256[] internal classes;
    IDemoUSD[] internal tokens;
    Tracked[] internal tracked;
    mapping(bytes4 action => uint256) public succeeded;
    mapping(uint256 classId => uint256) internal minted;
    mapping(uint256 classId => uint256) internal burned;
    mapping(uint256 classId => bool) internal swept;
    mapping(IDemoUSD token => uint256) internal paidIn;
    mapping(IDemoUSD token => uint256) internal paidOut;
    mapping(IDemoUSD token => uint256) internal donated;
    uint256 internal donatedStake;
    /// @dev The first rule that an action saw broken; empty as long as all held.
    string public violation;

    /* SET-UP */

    function setUp() public override {
        super.setUp();
        (classes, tokens) = (new uint256[](0), new IDemoUSD[](0));
        tokens.push(usd);
        tokens.push(IDemoUSD(address(new DishonestToken())));
        gremlin = new Gremlin(credits, reserve, bob.addr);
        buyers.push(alice);
        buyers.push(bob);
        buyers.push(makeAccount("carol"));
        _addProvider(provider.addr, oracle, makeAccount("oracle-2"));
        Account memory rivalKey = makeAccount("rival-oracle");
        _registerProvider(makeAddr("rival"), rivalKey.addr);
        _addProvider(makeAddr("rival"), rivalKey, makeAccount("rival-oracle-2"));
        for (uint256 i; i < buyers.length; ++i) {
            holders.push(buyers[i].addr);
        }
        holders.push(address(gremlin));
        holders.push(providers[0].account);
        holders.push(providers[1].account);
        holders.push(issuer.addr);
        classes.push(plain);
        classes.push(watched);
        for (uint256 kind; kind < KINDS; ++kind) {
            classes.push(_createClass(_kind(kind)));
        }
    }

    function _addProvider(address account, Account memory first, Account memory second) private {
        Provider storage p = providers.push();
        p.account = account;
        (p.keys[0], p.keys[1]) = (first, second);
    }

    /* CLASSES */

    uint256 internal constant KINDS = 5;

    /// @dev Classes that between them use every term a class can have now.
    function _kind(uint256 kind) internal view returns (ClassTerms memory terms) {
        terms = kind == 2 ? _grantTerms() : _saleTerms();
        if (kind == 0) terms = _windowedTerms();
        if (kind == 1) {
            terms = _watchedTerms();
            (terms.challengeWindow, terms.transferable) = (WINDOW, false);
            terms.arbiterSet = uint32(arbiterSet);
        }
        if (kind == 3) (terms.expiry, terms.maxPerHolder) = (uint40(_now() + 30 days), MOST);
        if (kind == 4) terms.paymentToken = address(tokens[1]);
        // Few decimals and a low price: the most rounding.
        if (kind == 0) (terms.decimals, terms.pricePerMillion) = (0, 7);
    }

    /* RECORDS */

    /// @dev Wraps every action: counted if it got to its end, and then every job is looked at.
    modifier action() {
        _;
        ++succeeded[msg.sig];
        _syncJobs();
        _syncGremlin();
    }

    function _check(bool ok, string memory rule) internal {
        if (!ok && bytes(violation).length == 0) violation = rule;
    }

    /// @dev Follows every job's status. Ends are counted, and the units of those that settled are burned.
    function _syncJobs() private {
        for (uint256 i; i < tracked.length; ++i) {
            Tracked storage t = tracked[i];
            Status status = market.jobs(t.id).status;
            if (status == t.last) continue;
            if (status == Status.None) {
                // Forgotten already, or just ended: nothing else empties a slot.
                if (t.last >= Status.Settled) continue;
                _check(_now() > t.terms.acceptBy, "4: a slot was emptied while its terms could be opened again");
                status = t.next;
            }
            _check(_mayFollow(t.last, status), "4: a job took a step that its status forbids");
            if (status >= Status.Settled) _check(++t.ends == 1, "4: a job ended twice");
            if (status == Status.Settled) burned[t.terms.classId] += t.units;
            t.last = status;
        }
    }

    /// @dev The gremlin may reclaim what is its own; what it got is booked like anybody's reclaim.
    function _syncGremlin() private {
        Gremlin.Reclaim[] memory reclaims = gremlin.takeReclaims();
        for (uint256 i; i < reclaims.length; ++i) {
            burned[reclaims[i].id] += reclaims[i].units;
            paidOut[_tokenOf(reclaims[i].id)] += reclaims[i].amount;
        }
    }

    function _mayFollow(Status from, Status to) private pure returns (bool) {
        if (from == Status.Open) return to == Status.Running || to == Status.Cancelled || to == Status.Expired;
        if (from == Status.Submitted) return to == Status.Settled;
        if (from != Status.Running) return false;
        return to == Status.Submitted || to == Status.Settled || to == Status.Refunded || to == Status.Cancelled
            || to == Status.Expired;
    }

    /* CHOICES */

    function _class(uint256 seed) internal view returns (uint256) {
        return classes[seed % classes.length];
    }

    function _buyer(uint256 seed) internal view returns (Account memory) {
        return buyers[seed % buyers.length];
    }

    function _holder(uint256 seed) internal view returns (address) {
        return holders[seed % holders.length];
    }

    /// @dev A job in `status`, starting the search anywhere. Drops the call if there is none.
    function _job(uint256 seed, Status status) internal view returns (Tracked storage) {
        uint256 count = tracked.length;
        for (uint256 i; i < count; ++i) {
            Tracked storage t = tracked[(seed % count + i) % count];
            if (t.last == status) return t;
        }
        vm.assume(false);
        return tracked[0];
    }

    /// @dev Somebody who holds credits, and of which class; of one that is wound down if asked. Drops the call if nobody.
    function _holding(uint256 seed, bool woundDown) internal view returns (address holder, uint256 id, uint256 held) {
        uint256 pairs = holders.length * classes.length;
        for (uint256 i; i < pairs; ++i) {
            uint256 pair = (seed % pairs + i) % pairs;
            (holder, id) = (holders[pair / classes.length], classes[pair % classes.length]);
            held = credits.availableOf(holder, id);
            if (held != 0 && (!woundDown || credits.isWoundDown(id))) return (holder, id, held);
        }
        vm.assume(false);
    }

    /// @dev Somebody who has earned, and in which token. Drops the call if nobody.
    function _earner(uint256 seed) internal view returns (address account, IDemoUSD token, uint256 earned) {
        uint256 pairs = holders.length * tokens.length;
        for (uint256 i; i < pairs; ++i) {
            uint256 pair = (seed % pairs + i) % pairs;
            (account, token) = (holders[pair / tokens.length], tokens[pair % tokens.length]);
            earned = reserve.earningsOf(account, address(token));
            if (earned != 0) return (account, token, earned);
        }
        vm.assume(false);
    }

    /// @dev A class funded so, starting the search anywhere.
    function _classFunded(uint256 seed, Funding funding) internal view returns (uint256 id) {
        for (uint256 i; i < classes.length; ++i) {
            id = classes[(seed % classes.length + i) % classes.length];
            if (credits.saleTerms(id).funding == funding) return id;
        }
    }

    function _providerOf(address account) internal view returns (Provider storage) {
        return providers[0].account == account ? providers[0] : providers[1];
    }

    function _key(address account) internal view returns (Account memory) {
        Provider storage p = _providerOf(account);
        return p.keys[p.inUse];
    }

    function _tokenOf(uint256 classId) internal view returns (IDemoUSD) {
        return credits.saleTerms(classId).paymentToken == address(usd) ? tokens[0] : tokens[1];
    }
}
