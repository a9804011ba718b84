// SPDX-License-Identifier: MIT
pragma solidity ^0.8.30;

import {IAccessControl} from "@openzeppelin/contracts/access/IAccessControl.sol";
import {IComputeCredits} from "contracts/interfaces/IComputeCredits.sol";
import {ClassTerms, Resource} from "contracts/interfaces/Types.sol";
import {Base} from "./Base.t.sol";

/// @dev What createClass refuses. Fields are named by their position in `ClassTerms`.
contract ComputeCreditsTermsTest is Base {
    uint256 private constant MAX_PROVIDERS = 64;
    uint256 private constant MAX_NAME_BYTES = 64;
    uint256 private constant MAX_CHALLENGE_WINDOW = 30 days;
    uint256 private constant MAX_PRICE_AGE = 7 days;
    uint256 private constant LAST_FIELD = 23;

    function setUp() public override {
        super.setUp();
        vm.prank(admin.addr);
        IAccessControl(address(credits)).grantRole(ISSUER_ROLE, provider.addr);
    }

    /* WHO */

    function testFuzz_RevertWhen_CreatorHasNoRole(address caller) public {
        _assumeStranger(caller);
        ClassTerms memory terms = _saleTerms();
        terms.issuer = caller;
        vm.expectRevert(
            abi.encodeWithSelector(IAccessControl.AccessControlUnauthorizedAccount.selector, caller, ISSUER_ROLE)
        );
        vm.prank(caller);
        credits.createClass(terms, new address[](0));
    }

    function testFuzz_RevertWhen_CreatorIsNotTheIssuerNamed(address named) public {
        vm.assume(named != issuer.addr);
        ClassTerms memory terms = _saleTerms();
        terms.issuer = named;
        _expect(IComputeCredits.ComputeCredits_NotIssuer.selector, _next(), named, issuer.addr);
        vm.prank(issuer.addr);
        credits.createClass(terms, new address[](0));
    }

    /* WORK */

    function test_RevertWhen_ResourceNone() public {
        ClassTerms memory terms = _saleTerms();
        terms.resource = Resource.None;
        _expectBadTerm(terms, 1, 0, 1);
    }

    function testFuzz_RevertWhen_TooManyDecimals(uint8 decimals) public {
        ClassTerms memory terms = _saleTerms();
        terms.decimals = uint8(bound(decimals, 19, type(uint8).max));
        _expectBadTerm(terms, 2, terms.decimals, 18);
    }

    function test_RevertWhen_MaxRateZero() public {
        ClassTerms memory terms = _saleTerms();
        terms.maxRate = 0;
        _expectBadTerm(terms, 9, 0, 1);
    }

    function test_RevertWhen_NameEmpty() public {
        ClassTerms memory terms = _saleTerms();
        terms.name = "";
        _expectBadTerm(terms, LAST_FIELD, 0, 1);
    }

    function testFuzz_RevertWhen_NameTooLong(uint256 length) public {
        ClassTerms memory terms = _saleTerms();
        length = bound(length, MAX_NAME_BYTES + 1, 500);
        terms.name = string(new bytes(length));
        _expectBadTerm(terms, LAST_FIELD, length, MAX_NAME_BYTES);
    }

    /* ISSUANCE */

    function test_RevertWhen_GrantBoundToCapacity() public {
        ClassTerms memory terms = _grantTerms();
        terms.capacityBound = true;
        _expectBadTerm(terms, 5, 1, 0);
    }

    function testFuzz_RevertWhen_ExpiryNotInFuture(uint40 expiry) public {
        ClassTerms memory terms = _saleTerms();
        terms.expiry = uint40(bound(expiry, 1, START));
        _expectBadTerm(terms, 10, terms.expiry, START + 1);
    }

    function testFuzz_RevertWhen_StakeFundedWithoutFutureExpiry(uint40 expiry) public {
        ClassTerms memory terms = _prepaidTerms(1);
        terms.expiry = uint40(bound(expiry, 0, START));
        _expectBadTerm(terms, 10, terms.expiry, START + 1);
    }

    function test_RevertWhen_MaxSupplyZero() public {
        ClassTerms memory terms = _saleTerms();
        terms.maxSupply = 0;
        _expectBadTerm(terms, 11, 0, 1);
    }

    function testFuzz_RevertWhen_MaxSupplyTooLarge(uint128 supply) public {
        ClassTerms memory terms = _saleTerms();
        terms.maxSupply = uint128(bound(supply, uint256(type(uint96).max) + 1, type(uint128).max));
        _expectBadTerm(terms, 11, terms.maxSupply, type(uint96).max);
    }

    function testFuzz_RevertWhen_MaxPerHolderTooLarge(uint128 cap) public {
        ClassTerms memory terms = _saleTerms();
        terms.maxPerHolder = uint128(bound(cap, uint256(type(uint96).max) + 1, type(uint128).max));
        _expectBadTerm(terms, 12, terms.maxPerHolder, type(uint96).max);
    }

    /* REVIEW */

    function testFuzz_RevertWhen_AssuranceUnknown(uint8 assurance) public {
        ClassTerms memory terms = _watchedTerms();
        terms.minAssurance = uint8(bound(assurance, 4, type(uint8).max));
        _expectBadTerm(terms, 6, terms.minAssurance, 3);
    }

    function testFuzz_RevertWhen_WatchedWithoutSet(uint8 assurance) public {
        ClassTerms memory terms = _watchedTerms();
        terms.minAssurance = uint8(bound(assurance, 2, 3));
        terms.watcherSet = 0;
        _expectBadTerm(terms, 7, 0, 1);
    }

    function test_RevertWhen_CapacityBoundWithoutSet() public {
        ClassTerms memory terms = _saleTerms();
        terms.capacityBound = true;
        _expectBadTerm(terms, 7, 0, 1);
    }

    function testFuzz_RevertWhen_ChallengeWindowTooLong(uint32 window) public {
        ClassTerms memory terms = _windowedTerms();
        terms.challengeWindow = uint32(bound(window, MAX_CHALLENGE_WINDOW + 1, type(uint32).max));
        _expectBadTerm(terms, 8, terms.challengeWindow, MAX_CHALLENGE_WINDOW);
    }

    function testFuzz_RevertWhen_WindowWithoutArbiters(uint32 window) public {
        ClassTerms memory terms = _windowedTerms();
        terms.challengeWindow = uint32(bound(window, 1, MAX_CHALLENGE_WINDOW));
        terms.arbiterSet = 0;
        _expectBadTerm(terms, 20, 0, 1);
    }

    function testFuzz_RevertWhen_StakeWithoutArbiters(uint128 stake, bool granted) public {
        ClassTerms memory terms = granted ? _grantTerms() : _saleTerms();
        terms.stakePerMillion = uint128(bound(stake, 1, type(uint128).max));
        _expectBadTerm(terms, 21, terms.stakePerMillion, 0);
    }

    function test_RevertWhen_StakeFundedWithoutStake() public {
        _expectBadTerm(_prepaidTerms(0), 21, 0, 1);
    }

    function testFuzz_RevertWhen_WatcherSetUnknown(uint32 set) public {
        ClassTerms memory terms = _saleTerms();
        terms.watcherSet = uint32(bound(set, arbiterSet + 1, type(uint32).max));
        _expectUnknownSet(terms, terms.watcherSet);
    }

    function testFuzz_RevertWhen_ArbiterSetUnknown(uint32 set) public {
        ClassTerms memory terms = _windowedTerms();
        terms.arbiterSet = uint32(bound(set, arbiterSet + 1, type(uint32).max));
        _expectUnknownSet(terms, terms.arbiterSet);
    }

    /// @dev A set that was proposed has an id, but nobody in it can sign yet.
    function test_RevertWhen_SetNotInForce() public {
        vm.prank(admin.addr);
        uint256 proposed = verifier.proposeSet(0, _addresses(watchers), THRESHOLD);
        ClassTerms memory terms = _watchedTerms();
        // forge-lint: disable-next-line(unsafe-typecast)
        terms.watcherSet = uint32(proposed);
        _expectUnknownSet(terms, proposed);
        verifier.activateSet(proposed, _addresses(watchers), THRESHOLD);
        assertEq(credits.classTerms(_createClass(terms)).watcherSet, proposed, "set in force");
    }

    /* PRICE */

    function test_RevertWhen_SaleWithoutToken() public {
        ClassTerms memory terms = _saleTerms();
        terms.paymentToken = address(0);
        _expectBadTerm(terms, 15, 0, 1);
    }

    function test_RevertWhen_SaleWithoutPrice() public {
        ClassTerms memory terms = _saleTerms();
        terms.pricePerMillion = 0;
        _expectBadTerm(terms, 16, 0, 1);
    }

    function testFuzz_RevertWhen_PriceTooLarge(uint128 price) public {
        ClassTerms memory terms = _saleTerms();
        terms.pricePerMillion = uint128(bound(price, uint256(type(uint96).max) + 1, type(uint128).max));
        _expectBadTerm(terms, 16, terms.pricePerMillion, type(uint96).max);
    }

    /// @dev A reference price is a price in something.
    function testFuzz_RevertWhen_ReferencePriceWithoutToken(uint96 price, bool prepaid) public {
        ClassTerms memory terms = _unpriced(prepaid);
        terms.pricePerMillion = uint128(bound(price, 1, type(uint96).max));
        _expectBadTerm(terms, 15, 0, 1);
    }

    function testFuzz_RevertWhen_ReferenceTokenWithoutPrice(address token, bool prepaid) public {
        vm.assume(token != address(0));
        ClassTerms memory terms = _unpriced(prepaid);
        terms.paymentToken = token;
        _expectBadTerm(terms, 16, 0, 1);
    }

    function testFuzz_RevertWhen_FeedOfAClassNotSold(address feed, bool prepaid) public {
        vm.assume(feed != address(0));
        ClassTerms memory terms = _unpriced(prepaid);
        (terms.priceFeed, terms.maxPriceAge, terms.maxDeviationBps) = (feed, 1, 1);
        _expectBadTerm(terms, 17, _number(feed), 0);
    }

    function testFuzz_RevertWhen_PriceAgeOutOfRange(address feed, uint32 age) public {
        vm.assume(feed != address(0));
        ClassTerms memory terms = _fedTerms(feed);
        terms.maxPriceAge = 0;
        _expectBadTerm(terms, 18, 0, 1);
        terms.maxPriceAge = uint32(bound(age, MAX_PRICE_AGE + 1, type(uint32).max));
        _expectBadTerm(terms, 18, terms.maxPriceAge, MAX_PRICE_AGE);
    }

    function testFuzz_RevertWhen_DeviationOutOfRange(address feed, uint16 deviation) public {
        vm.assume(feed != address(0));
        ClassTerms memory terms = _fedTerms(feed);
        terms.maxDeviationBps = 0;
        _expectBadTerm(terms, 22, 0, 1);
        terms.maxDeviationBps = uint16(bound(deviation, BPS + 1, type(uint16).max));
        _expectBadTerm(terms, 22, terms.maxDeviationBps, BPS);
    }

    function testFuzz_RevertWhen_FeedBoundsWithoutFeed(uint32 age, uint16 deviation) public {
        ClassTerms memory terms = _saleTerms();
        terms.maxPriceAge = uint32(bound(age, 1, type(uint32).max));
        _expectBadTerm(terms, 18, terms.maxPriceAge, 0);
        terms.maxPriceAge = 0;
        terms.maxDeviationBps = uint16(bound(deviation, 1, type(uint16).max));
        _expectBadTerm(terms, 22, terms.maxDeviationBps, 0);
    }

    /* PROVIDERS */

    function testFuzz_RevertWhen_TooManyProviders(uint256 count) public {
        count = bound(count, MAX_PROVIDERS + 1, 200);
        ClassTerms memory terms = _saleTerms();
        _expect(IComputeCredits.ComputeCredits_TooManyProviders.selector, _next(), count, MAX_PROVIDERS);
        vm.prank(issuer.addr);
        credits.createClass(terms, new address[](count));
    }

    function testFuzz_RevertWhen_AnotherServesABoundClass(address other, bool prepaid) public {
        ClassTerms memory terms = _boundTerms(prepaid);
        vm.assume(other != terms.issuer);
        _expect(IComputeCredits.ComputeCredits_NotIssuer.selector, _next(), other, terms.issuer);
        _createClass(terms, _one(other));
    }

    /// @dev Also refused when the issuer is on the list, but not alone; and when there is no list, as anyone may serve then.
    function testFuzz_RevertWhen_ABoundClassListsNotExactlyOne(uint256 count, bool prepaid) public {
        ClassTerms memory terms = _boundTerms(prepaid);
        count = bound(count, 2, MAX_PROVIDERS);
        address[] memory listed = new address[](count);
        listed[0] = terms.issuer;
        bytes4 reason = IComputeCredits.ComputeCredits_NotIssuer.selector;
        _expect(reason, _next(), address(0), terms.issuer);
        _createClass(terms, listed);
        _expect(reason, _next(), address(0), terms.issuer);
        _createClass(terms, new address[](0));
    }

    /* HELPERS */

    function _next() private view returns (uint256) {
        return credits.classCount() + 1;
    }

    function _unpriced(bool prepaid) private view returns (ClassTerms memory terms) {
        terms = prepaid ? _prepaidTerms(1) : _grantTerms();
        (terms.paymentToken, terms.pricePerMillion) = (address(0), 0);
    }

    function _fedTerms(address feed) private view returns (ClassTerms memory terms) {
        terms = _saleTerms();
        (terms.priceFeed, terms.maxPriceAge, terms.maxDeviationBps) = (feed, 1 hours, 500);
    }

    function _boundTerms(bool prepaid) private view returns (ClassTerms memory terms) {
        if (prepaid) return _prepaidTerms(1);
        terms = _watchedTerms();
        terms.capacityBound = true;
    }

    function _expectBadTerm(ClassTerms memory terms, uint256 field, uint256 given, uint256 limit) private {
        _expect(IComputeCredits.ComputeCredits_BadTerm.selector, field, given, limit);
        _createClass(terms);
    }

    function _expectUnknownSet(ClassTerms memory terms, uint256 set) private {
        uint256 known = verifier.setCount();
        _expect(IComputeCredits.ComputeCredits_UnknownSet.selector, _next(), set, known);
        _createClass(terms);
    }
}
