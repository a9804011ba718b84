// SPDX-License-Identifier: MIT
pragma solidity ^0.8.30;

import {IAccessControl} from "@openzeppelin/contracts/access/IAccessControl.sol";
import {IERC1155} from "@openzeppelin/contracts/token/ERC1155/IERC1155.sol";
import {IERC1155MetadataURI} from "@openzeppelin/contracts/token/ERC1155/extensions/IERC1155MetadataURI.sol";
import {IERC165} from "@openzeppelin/contracts/utils/introspection/IERC165.sol";
import {IComputeCredits} from "contracts/interfaces/IComputeCredits.sol";
import {
    ClassTerms,
    Funding,
    Resource,
    ReviewTerms,
    SaleTerms,
    ServingTerms,
    SettlementTerms
} from "contracts/interfaces/Types.sol";
import {Base} from "./Base.t.sol";

/// @dev createClass, closeClass and the views of a class.
contract ComputeCreditsCreateTest is Base {
    uint256 private constant MAX_PROVIDERS = 64;
    uint256 private constant MAX_NAME_BYTES = 64;
    uint256 private constant MAX_CHALLENGE_WINDOW = 30 days;

    /// @dev The terms that are fuzzed. Enums as numbers, which the fuzzer needn't keep in range.
    struct Numbers {
        uint8 resource;
        uint8 decimals;
        bool transferable;
        uint8 minAssurance;
        uint32 watcherSet;
        uint32 challengeWindow;
        uint64 maxRate;
        uint40 expiry;
        uint128 maxSupply;
        uint128 maxPerHolder;
        bytes32 sku;
        bytes12 region;
        uint128 price;
        address eligibility;
    }

    /* createClass: REVERTS */

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
        _expect(IComputeCredits.ComputeCredits_NotIssuer.selector, credits.classCount() + 1, named, issuer.addr);
        vm.prank(issuer.addr);
        credits.createClass(terms, new address[](0));
    }

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

    function test_RevertWhen_StakeFundedWithoutStake() public {
        _letProviderIssue();
        ClassTerms memory terms = _prepaidTerms(0);
        _expect(IComputeCredits.ComputeCredits_BadTerm.selector, 21, 0, 1);
        _createClass(terms, _one(provider.addr));
    }

    function test_RevertWhen_StakeFundedForEver() public {
        _letProviderIssue();
        ClassTerms memory terms = _prepaidTerms(1);
        terms.expiry = 0;
        _expect(IComputeCredits.ComputeCredits_BadTerm.selector, 10, 0, START + 1);
        _createClass(terms, _one(provider.addr));
    }

    /// @dev Only whoever's stake or capacity it is can be asked to serve.
    function testFuzz_RevertWhen_BoundClassIsServedByAnother(address other, bool byStake) public {
        vm.assume(other != provider.addr);
        _letProviderIssue();
        ClassTerms memory terms = byStake ? _prepaidTerms(1) : _capacityTerms();
        uint256 next = credits.classCount() + 1;
        _expect(IComputeCredits.ComputeCredits_NotIssuer.selector, next, other, provider.addr);
        _createClass(terms, _one(other));
        _expect(IComputeCredits.ComputeCredits_NotIssuer.selector, next, address(0), provider.addr);
        _createClass(terms, new address[](0));
    }

    function test_RevertWhen_GrantIsCapacityBound() public {
        ClassTerms memory terms = _grantTerms();
        (terms.capacityBound, terms.watcherSet) = (true, uint32(watcherSet));
        _expectBadTerm(terms, 5, 1, 0);
    }

    function test_RevertWhen_CapacityBoundWithoutWatchers() public {
        _letProviderIssue();
        ClassTerms memory terms = _capacityTerms();
        terms.watcherSet = 0;
        _expect(IComputeCredits.ComputeCredits_BadTerm.selector, 7, 0, 1);
        _createClass(terms, _one(provider.addr));
    }

    function testFuzz_RevertWhen_SetIsUnknown(uint32 set, bool arbiters) public {
        set = uint32(bound(set, verifier.setCount() + 1, type(uint32).max));
        ClassTerms memory terms = _windowedTerms();
        if (arbiters) terms.arbiterSet = set;
        else terms.watcherSet = set;
        uint256 next = credits.classCount() + 1;
        _expect(IComputeCredits.ComputeCredits_UnknownSet.selector, next, set, verifier.setCount());
        _createClass(terms);
    }

    function test_RevertWhen_WindowedWithoutArbiters() public {
        ClassTerms memory terms = _windowedTerms();
        terms.arbiterSet = 0;
        _expectBadTerm(terms, 20, 0, 1);
    }

    function testFuzz_RevertWhen_StakedWithoutWindow(uint128 stake) public {
        ClassTerms memory terms = _saleTerms();
        terms.stakePerMillion = uint128(bound(stake, 1, type(uint128).max));
        _expectBadTerm(terms, 21, terms.stakePerMillion, 0);
    }

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

    function testFuzz_RevertWhen_ChallengeWindowTooLong(uint32 window) public {
        ClassTerms memory terms = _saleTerms();
        terms.challengeWindow = uint32(bound(window, MAX_CHALLENGE_WINDOW + 1, type(uint32).max));
        _expectBadTerm(terms, 8, terms.challengeWindow, MAX_CHALLENGE_WINDOW);
    }

    function test_RevertWhen_MaxRateZero() public {
        ClassTerms memory terms = _saleTerms();
        terms.maxRate = 0;
        _expectBadTerm(terms, 9, 0, 1);
    }

    function testFuzz_RevertWhen_ExpiryNotInFuture(uint40 expiry) public {
        ClassTerms memory terms = _saleTerms();
        terms.expiry = uint40(bound(expiry, 1, START));
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

    function test_RevertWhen_SaleWithoutToken() public {
        ClassTerms memory terms = _saleTerms();
        terms.paymentToken = address(0);
        _expectBadTerm(terms, 15, 0, 1);
    }

    /// @dev A reference price needs its token, and the other way round.
    function testFuzz_RevertWhen_GrantWithTokenOrPriceAlone(address token, uint96 price) public {
        vm.assume(token != address(0) && price != 0);
        ClassTerms memory terms = _grantTerms();
        terms.paymentToken = token;
        _expectBadTerm(terms, 16, 0, 1);
        (terms.paymentToken, terms.pricePerMillion) = (address(0), price);
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

    function testFuzz_RevertWhen_HolderCapTooLarge(uint128 cap) public {
        ClassTerms memory terms = _saleTerms();
        terms.maxPerHolder = uint128(bound(cap, uint256(type(uint96).max) + 1, type(uint128).max));
        _expectBadTerm(terms, 12, terms.maxPerHolder, type(uint96).max);
    }

    function testFuzz_RevertWhen_GrantNamesAFeed(address feed) public {
        vm.assume(feed != address(0));
        ClassTerms memory terms = _grantTerms();
        (terms.priceFeed, terms.maxPriceAge, terms.maxDeviationBps) = (feed, 1, 1);
        _expectBadTerm(terms, 17, _number(feed), 0);
    }

    function testFuzz_RevertWhen_FeedHasNoBounds(address feed, uint32 age, uint16 bps) public {
        vm.assume(feed != address(0));
        ClassTerms memory terms = _saleTerms();
        (terms.priceFeed, terms.maxPriceAge, terms.maxDeviationBps) = (feed, 0, 1);
        _expectBadTerm(terms, 18, 0, 1);
        terms.maxPriceAge = uint32(bound(age, 7 days + 1, type(uint32).max));
        _expectBadTerm(terms, 18, terms.maxPriceAge, 7 days);
        (terms.maxPriceAge, terms.maxDeviationBps) = (1, 0);
        _expectBadTerm(terms, 22, 0, 1);
        terms.maxDeviationBps = uint16(bound(bps, 10_001, type(uint16).max));
        _expectBadTerm(terms, 22, terms.maxDeviationBps, 10_000);
    }

    function testFuzz_RevertWhen_BoundsWithoutAFeed(uint32 age, uint16 bps) public {
        ClassTerms memory terms = _saleTerms();
        terms.maxPriceAge = uint32(bound(age, 1, type(uint32).max));
        _expectBadTerm(terms, 18, terms.maxPriceAge, 0);
        (terms.maxPriceAge, terms.maxDeviationBps) = (0, uint16(bound(bps, 1, type(uint16).max)));
        _expectBadTerm(terms, 22, terms.maxDeviationBps, 0);
    }

    function test_RevertWhen_NameEmpty() public {
        ClassTerms memory terms = _saleTerms();
        terms.name = "";
        _expectBadTerm(terms, 23, 0, 1);
    }

    function testFuzz_RevertWhen_NameTooLong(uint256 length) public {
        ClassTerms memory terms = _saleTerms();
        length = bound(length, MAX_NAME_BYTES + 1, 500);
        terms.name = string(new bytes(length));
        _expectBadTerm(terms, 23, length, MAX_NAME_BYTES);
    }

    function testFuzz_RevertWhen_TooManyProviders(uint256 count) public {
        count = bound(count, MAX_PROVIDERS + 1, 200);
        uint256 next = credits.classCount() + 1;
        ClassTerms memory terms = _saleTerms();
        _expect(IComputeCredits.ComputeCredits_TooManyProviders.selector, next, count, MAX_PROVIDERS);
        vm.prank(issuer.addr);
        credits.createClass(terms, new address[](count));
    }

    /* createClass: SUCCESS */

    function testFuzz_CreateClass(Numbers memory given) public {
        ClassTerms memory terms = _bounded(given);
        uint256 expected = credits.classCount() + 1;
        vm.expectEmit(address(credits));
        emit IComputeCredits.ClassCreated(expected, issuer.addr, terms, new address[](0));
        uint256 id = _createClass(terms);
        assertEq(id, expected, "id");
        assertEq(credits.classCount(), expected, "class count");
        assertEq(abi.encode(credits.classTerms(id)), abi.encode(terms), "terms read back");
        assertEq(credits.totalSupply(id), 0, "supply");
        assertFalse(credits.isClosed(id), "closed");
        _assertSlices(id, terms);
    }

    function test_CreateClass_AtEveryUpperBound() public {
        ClassTerms memory terms = _watchedTerms();
        terms.resource = Resource.GbTransfer;
        terms.decimals = 18;
        terms.minAssurance = 3;
        terms.challengeWindow = uint32(MAX_CHALLENGE_WINDOW);
        terms.arbiterSet = uint32(arbiterSet);
        terms.stakePerMillion = type(uint128).max;
        terms.maxRate = type(uint64).max;
        terms.expiry = type(uint40).max;
        terms.maxPerHolder = type(uint96).max;
        terms.pricePerMillion = type(uint96).max;
        (terms.priceFeed, terms.maxPriceAge, terms.maxDeviationBps) = (address(1), 7 days, 10_000);
        terms.name = "0123456789012345678901234567890123456789012345678901234567890123";
        uint256 id = _createClass(terms, new address[](MAX_PROVIDERS));
        assertEq(abi.encode(credits.classTerms(id)), abi.encode(terms), "terms read back");
    }

    function test_CreateClass_AnnouncesItsUri() public {
        uint256 id = credits.classCount() + 1;
        vm.recordLogs();
        _createClass(_saleTerms());
        bytes32 topic = IERC1155.URI.selector;
        assertEq(vm.getRecordedLogs()[1].topics[0], topic, "second event is URI");
        assertEq(credits.classCount(), id, "class count");
    }

    function testFuzz_IsListed(address listed, address other) public {
        vm.assume(listed != other);
        uint256 id = _createClass(_saleTerms(), _one(listed));
        assertTrue(credits.servingTerms(id, listed).listed, "listed, in what a job reads");
        assertFalse(credits.servingTerms(id, other).listed, "not listed, in what a job reads");
        assertTrue(credits.isListed(id, listed), "listed");
        assertFalse(credits.isListed(id, other), "not listed");
        assertTrue(credits.isListed(plain, other), "a class without a list takes anyone");
    }

    /* closeClass */

    function testFuzz_RevertWhen_ClosedByAnother(address caller) public {
        vm.assume(caller != issuer.addr);
        _expect(IComputeCredits.ComputeCredits_NotIssuer.selector, plain, caller, issuer.addr);
        vm.prank(caller);
        credits.closeClass(plain);
    }

    function test_RevertWhen_ClosedTwice() public {
        _close(plain);
        _expect(IComputeCredits.ComputeCredits_Closed.selector, plain, 1, 0);
        _close(plain);
    }

    function test_CloseClass() public {
        assertTrue(credits.saleTerms(plain).open, "open before");
        assertFalse(credits.isWoundDown(plain), "wound down before");
        vm.expectEmit(address(credits));
        emit IComputeCredits.ClassClosed(plain);
        _close(plain);
        assertTrue(credits.isClosed(plain), "closed");
        assertTrue(credits.isWoundDown(plain), "wound down");
        assertFalse(credits.saleTerms(plain).open, "open");
        assertFalse(credits.isClosed(watched), "no other class is closed");
    }

    /* VIEWS */

    function testFuzz_RevertWhen_ClassUnknown(uint256 id) public {
        uint256 count = credits.classCount();
        if (id <= count) id = 0;
        bytes4 unknown = IComputeCredits.ComputeCredits_UnknownClass.selector;
        _expect(unknown, id, id, count);
        credits.classTerms(id);
        _expect(unknown, id, id, count);
        credits.saleTerms(id);
        _expect(unknown, id, id, count);
        credits.isWoundDown(id);
        _expect(unknown, id, id, count);
        credits.closeClass(id);
    }

    function testFuzz_IsWoundDown_AfterExpiry(uint40 expiry, uint40 late) public {
        ClassTerms memory terms = _saleTerms();
        terms.expiry = uint40(bound(expiry, START + 1, type(uint40).max - 1));
        uint256 id = _createClass(terms);
        vm.warp(terms.expiry);
        assertFalse(credits.isWoundDown(id), "the last second still counts");
        assertTrue(credits.saleTerms(id).open, "open in the last second");
        vm.warp(bound(late, uint256(terms.expiry) + 1, type(uint40).max));
        assertTrue(credits.isWoundDown(id), "wound down");
        assertFalse(credits.saleTerms(id).open, "open");
        assertFalse(credits.isClosed(id), "expired is not closed");
    }

    function test_SupportsInterface() public view {
        IERC165 erc165 = IERC165(address(credits));
        assertTrue(erc165.supportsInterface(type(IERC165).interfaceId), "ERC-165");
        assertTrue(erc165.supportsInterface(type(IERC1155).interfaceId), "ERC-1155");
        assertTrue(erc165.supportsInterface(type(IERC1155MetadataURI).interfaceId), "metadata");
        assertTrue(erc165.supportsInterface(type(IAccessControl).interfaceId), "access control");
        assertFalse(erc165.supportsInterface(0xffffffff), "the invalid id");
    }

    /* HELPERS */

    function _letProviderIssue() private {
        vm.prank(admin.addr);
        IAccessControl(address(credits)).grantRole(ISSUER_ROLE, provider.addr);
    }

    function _capacityTerms() private view returns (ClassTerms memory terms) {
        terms = _saleTerms();
        (terms.issuer, terms.capacityBound, terms.watcherSet) = (provider.addr, true, uint32(watcherSet));
    }

    function _expectBadTerm(ClassTerms memory terms, uint256 field, uint256 given, uint256 limit) private {
        _expect(IComputeCredits.ComputeCredits_BadTerm.selector, field, given, limit);
        _createClass(terms);
    }

    /// @dev Any terms of a class for sale, brought into their ranges.
    function _bounded(Numbers memory n) private view returns (ClassTerms memory t) {
        t = _saleTerms();
        t.resource = Resource(bound(n.resource, 1, uint256(type(Resource).max)));
        t.decimals = uint8(bound(n.decimals, 0, 18));
        t.transferable = n.transferable;
        t.minAssurance = uint8(bound(n.minAssurance, 0, 3));
        t.watcherSet = uint32(bound(n.watcherSet, 1, verifier.setCount()));
        t.challengeWindow = uint32(bound(n.challengeWindow, 0, MAX_CHALLENGE_WINDOW));
        if (t.challengeWindow != 0) t.arbiterSet = uint32(arbiterSet);
        if (t.challengeWindow != 0) t.stakePerMillion = n.price;
        t.maxRate = uint64(bound(n.maxRate, 1, type(uint64).max));
        t.expiry = n.expiry <= START ? 0 : n.expiry;
        t.maxSupply = uint128(bound(n.maxSupply, 1, type(uint96).max));
        t.maxPerHolder = uint128(bound(n.maxPerHolder, 0, type(uint96).max));
        t.sku = n.sku;
        t.region = n.region;
        t.pricePerMillion = uint128(bound(n.price, 1, type(uint96).max));
        t.eligibility = n.eligibility;
    }

    function _assertSlices(uint256 id, ClassTerms memory terms) private view {
        SettlementTerms memory s = credits.settlementTerms(id);
        assertEq(s.maxRate, terms.maxRate, "rate");
        assertEq(s.minAssurance, terms.minAssurance, "assurance");
        assertEq(s.windowed, terms.challengeWindow != 0, "windowed");
        assertEq(s.staked, terms.stakePerMillion != 0, "staked");
        ReviewTerms memory review = credits.reviewTerms(id);
        assertEq(uint256(review.resource), uint256(terms.resource), "resource");
        assertEq(review.decimals, terms.decimals, "decimals");
        assertEq(review.watcherSet, terms.watcherSet, "set");
        assertEq(review.arbiterSet, terms.arbiterSet, "arbiters");
        assertEq(review.challengeWindow, terms.challengeWindow, "window");
        assertEq(review.stakePerMillion, terms.stakePerMillion, "stake");
        ServingTerms memory serving = credits.servingTerms(id, provider.addr);
        assertEq(serving.requirement, registry.requirementOf(terms.sku, terms.region), "what it takes to serve");
        assertTrue(serving.listed, "anyone may serve");
        assertEq(serving.staked, terms.stakePerMillion != 0, "staked, in what a job reads");
        SaleTerms memory sale = credits.saleTerms(id);
        assertEq(uint256(sale.funding), uint256(Funding.Sale), "funding");
        assertEq(sale.decimals, terms.decimals, "sale decimals");
        assertTrue(sale.open, "open");
        assertEq(sale.paymentToken, terms.paymentToken, "token");
        assertEq(sale.pricePerMillion, terms.pricePerMillion, "price");
    }
}
