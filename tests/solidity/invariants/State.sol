// SPDX-License-Identifier: MIT
pragma solidity ^0.8.30;

import {IERC1271} from "@openzeppelin/contracts/interfaces/IERC1271.sol";
import {IAllowListEligibility} from "contracts/interfaces/IAllowListEligibility.sol";
import {ClassTerms, JobTerms, Limits, Offer, SessionTerms, Status} from "contracts/interfaces/Types.sol";
import {FakeFeed} from "../support/FakeFeed.sol";
import {IDemoUSD} from "../support/IDemoUSD.sol";
import {TrickReceiver} from "../support/ExchangeParties.sol";
import {AnsweringKey, BurningKey, RevertingKey} from "../support/SessionKeys.sol";
import {Gremlin} from "./Gremlin.sol";
import {Record} from "./Record.sol";
import {WildToken} from "./WildToken.sol";

/// @dev Who acts on the system, and what the handler remembers of it by itself (ghosts), to hold against what it says.
abstract contract State is Record {
    error State_NoParty(address account);

    /* TYPES */

    /// @dev A provider, its two oracle keys, of which one is in use, and what the registry should know of it.
    struct Provider {
        address account;
        Account[2] keys;
        uint256 inUse;
        bool serving;
        bytes12 region;
        uint256 staked;
        uint256 unbonding;
        uint256 availableAt;
        uint256 count;
        uint256 until;
        uint256 observedAt;
    }

    struct Ghost {
        uint256 kind;
        bool closed;
        uint256 pausedUntil;
        uint256 supply;
        uint256 inSessions;
        /// @dev Roundings in favour of the backing, each of less than one base unit of the payment token.
        uint256 roundings;
        uint256 lastBacking;
        uint256 lastSupply;
        mapping(address account => uint256) held;
        mapping(address account => uint256) locked;
        mapping(address account => uint256) deposited;
    }

    /// @dev A job. `units` is what its receipt claims, once there is one, and `dueAt` the end of what it waits for.
    struct Job {
        JobTerms terms;
        bytes32 id;
        Status status;
        uint256 units;
        uint256 assurance;
        uint256 dueAt;
        uint256 stake;
        uint256 charge;
        uint256 openedAt;
        address challenger;
    }

    /// @dev A session. `authorised` is the most that its key ever signed.
    struct Session {
        SessionTerms terms;
        bytes32 id;
        uint256 deposit;
        uint256 authorised;
        uint256 claimed;
        uint256 charge;
        uint256 closeAt;
        uint256 penalty;
    }

    struct Node {
        uint256 parent;
        address owner;
        Limits limits;
        bool revoked;
        uint256 spent;
        uint256 periodSpent;
        uint256 periodIndex;
    }

    struct Made {
        Offer offer;
        bytes32 id;
        bytes signature;
        uint256 filled;
        uint256 paid;
        bool cancelled;
    }

    uint128 internal constant MOST = 1e15;
    uint256 internal constant KEYS = 4;

    /* ACTORS */

    Account[] internal buyers;
    Account[] internal spenders;
    Provider[] internal providers;
    /// @dev Everybody who can hold credits or be paid, the sessions apart.
    address[] internal holders;
    Gremlin internal gremlin;
    /// @dev A receiver that refuses or burns gas when told to, and signs everything.
    TrickReceiver internal trick;
    address[] internal sessionKeys;
    Account internal sessionKey;
    address internal treasury;
    IAllowListEligibility internal allowList;
    FakeFeed internal feed;
    FakeFeed internal sequencer;

    /* GHOSTS */

    uint256[] internal classes;
    mapping(uint256 classId => Ghost) internal ghosts;
    mapping(uint256 classId => ClassTerms) internal termsOf;
    IDemoUSD[] internal tokens;
    WildToken internal wild;
    mapping(address account => bool) internal allowed;
    mapping(IDemoUSD token => uint256) internal paidIn;
    mapping(IDemoUSD token => uint256) internal paidOut;
    mapping(IDemoUSD token => mapping(address to => uint256)) internal donated;
    mapping(address account => uint256) internal awards;
    mapping(bytes32 id => uint256) internal ends;
    Job[] internal live;
    Job[8] internal ended;
    uint256 internal endedCount;
    Session[] internal openSessions;
    /// @dev The last session that was closed; `closeAt` is when.
    Session internal closedSession;
    uint256[] internal budgetIds;
    mapping(uint256 budgetId => Node) internal nodes;
    mapping(uint256 budgetId => mapping(address payee => bool)) internal mayPay;
    Made[] internal offers;
    mapping(address maker => uint256) internal epochs;
    uint256 internal feeNow;
    uint256 internal exchangeFee;

    /* SET-UP */

    function setUp() public virtual override {
        super.setUp();
        wild = new WildToken(reserve);
        tokens.push(usd);
        tokens.push(IDemoUSD(address(wild)));
        feed = new FakeFeed(8);
        feed.say(int256(uint256(PRICE)) * 100);
        treasury = makeAddr("treasury");
        allowList =
            IAllowListEligibility(deployCode("AllowListEligibility.sol:AllowListEligibility", abi.encode(issuer.addr)));
        _makeActors();
        _makeKeys();
    }

    function _sequencerFeed() internal override returns (address) {
        sequencer = new FakeFeed(0);
        sequencer.say(0, START - 1 days, START);
        return address(sequencer);
    }

    function _makeActors() private {
        buyers.push(alice);
        buyers.push(bob);
        buyers.push(makeAccount("carol"));
        for (uint256 i; i < 3; ++i) {
            spenders.push(makeAccount(string.concat("spender-", vm.toString(i))));
        }
        _addProvider(provider.addr, oracle, makeAccount("oracle-2"));
        Account memory rivalKey = makeAccount("rival-oracle");
        _registerProvider(makeAddr("rival"), rivalKey.addr);
        _addProvider(makeAddr("rival"), rivalKey, makeAccount("rival-oracle-2"));
        gremlin = new Gremlin(credits, reserve, bob.addr);
        trick = new TrickReceiver();
        address[8] memory all = [
            alice.addr,
            bob.addr,
            buyers[2].addr,
            address(gremlin),
            address(trick),
            providers[0].account,
            providers[1].account,
            issuer.addr
        ];
        for (uint256 i; i < all.length; ++i) {
            holders.push(all[i]);
            _approveAll(all[i]);
        }
        _approveAll(anyone);
    }

    function _addProvider(address account, Account memory first, Account memory second) private {
        Provider storage p = providers.push();
        (p.account, p.serving, p.region) = (account, true, REGION);
        (p.keys[0], p.keys[1]) = (first, second);
        _grantRoles(admin.addr, account);
    }

    /// @dev Everybody lets the contracts take what they ask for: whatever they take, they had no other leave to take.
    function _approveAll(address account) private {
        vm.startPrank(account);
        credits.setApprovalForAll(address(exchange), true);
        for (uint256 i; i < tokens.length; ++i) {
            tokens[i].approve(address(reserve), type(uint256).max);
            tokens[i].approve(address(exchange), type(uint256).max);
            tokens[i].approve(address(registry), type(uint256).max);
        }
        vm.stopPrank();
    }

    /// @dev Three keys that are contracts besides an account's: one agrees to everything, the others are hostile.
    function _makeKeys() private {
        sessionKey = makeAccount("session key");
        sessionKeys.push(sessionKey.addr);
        sessionKeys.push(address(new AnsweringKey(abi.encode(IERC1271.isValidSignature.selector))));
        sessionKeys.push(address(new BurningKey()));
        sessionKeys.push(address(new RevertingKey()));
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

    function _available(address account, uint256 id) internal view returns (uint256) {
        return ghosts[id].held[account] - ghosts[id].locked[account];
    }

    /// @dev Index of a job in `status`, starting the search anywhere. Drops the call if there is none.
    function _find(uint256 seed, Status status) internal view returns (uint256 index) {
        for (uint256 i; i < live.length; ++i) {
            index = (seed % live.length + i) % live.length;
            if (live[index].status == status) return index;
        }
        vm.assume(false);
    }

    /// @dev Somebody who has free credits, and of which class. Drops the call if nobody has.
    function _holding(uint256 seed, bool woundDown) internal view returns (address holder, uint256 id) {
        uint256 pairs = holders.length * classes.length;
        for (uint256 i; i < pairs; ++i) {
            uint256 pair = (seed % pairs + i) % pairs;
            (holder, id) = (holders[pair / classes.length], classes[pair % classes.length]);
            if (_available(holder, id) != 0 && (!woundDown || _isWoundDown(id))) return (holder, id);
        }
        vm.assume(false);
    }

    function _providerOf(address account) internal view returns (Provider storage) {
        return providers[0].account == account ? providers[0] : providers[1];
    }

    function _key(address account) internal view returns (Account memory) {
        Provider storage p = _providerOf(account);
        return p.keys[p.inUse];
    }

    function _tokenOf(uint256 id) internal view returns (IDemoUSD) {
        return tokens[termsOf[id].paymentToken == address(wild) ? 1 : 0];
    }

    function _isExpired(uint256 id) internal view returns (bool) {
        uint256 expiry = termsOf[id].expiry;
        return expiry != 0 && _now() > expiry;
    }

    function _isWoundDown(uint256 id) internal view returns (bool) {
        return ghosts[id].closed || _isExpired(id);
    }

    /// @dev Whether anyone may sweep the class's backing, and nobody has a claim on its stake.
    function _isOver(uint256 id) internal view returns (bool) {
        uint256 expiry = termsOf[id].expiry;
        return expiry != 0 && _now() >= expiry + SWEEP_DELAY;
    }

    /// @dev Base units that a class's price pays for.
    function _priced(uint256 id) internal view returns (uint256) {
        return 1_000_000 * 10 ** uint256(termsOf[id].decimals);
    }

    function _ceil(uint256 a, uint256 b) internal pure returns (uint256) {
        return a / b + (a % b == 0 ? 0 : 1);
    }
}
