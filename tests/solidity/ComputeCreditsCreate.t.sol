// SPDX-License-Identifier: MIT
pragma solidity ^0.8.30;

import {IAccessControl} from "@openzeppelin/contracts/access/IAccessControl.sol";
import {
    IAccessControlDefaultAdminRules
} from "@openzeppelin/contracts/access/extensions/IAccessControlDefaultAdminRules.sol";
import {IERC5267} from "@openzeppelin/contracts/interfaces/IERC5267.sol";
import {IERC1155} from "@openzeppelin/contracts/token/ERC1155/IERC1155.sol";
import {IERC1155MetadataURI} from "@openzeppelin/contracts/token/ERC1155/extensions/IERC1155MetadataURI.sol";
import {IERC165} from "@openzeppelin/contracts/utils/introspection/IERC165.sol";
import {IComputeCredits} from "contracts/interfaces/IComputeCredits.sol";
import {IProviderRegistry} from "contracts/interfaces/IProviderRegistry.sol";
import {ClassTerms, Funding, Resource, ReviewTerms, SaleTerms, ServingTerms} from "contracts/interfaces/Types.sol";
import {Vm} from "forge-std/Vm.sol";
import {ClassPolicy} from "contracts/libraries/ClassPolicy.sol";
import {Base} from "./Base.t.sol";

/// @dev What createClass keeps, closeClass, and the views of a class. What createClass refuses: ComputeCreditsTerms.
contract ComputeCreditsCreateTest is Base {
    uint256 private constant MAX_PROVIDERS = 64;
    uint256 private constant MAX_CHALLENGE_WINDOW = 30 days;
    uint256 private constant MAX_PRICE_AGE = 7 days;

    /// @dev The terms that are fuzzed. Enums as numbers, which the fuzzer needn't keep in range.
    struct Numbers {
        uint8 resource;
        uint8 decimals;
        bool transferable;
        uint8 minAssurance;
        bool watched;
        uint32 challengeWindow;
        uint64 maxRate;
        uint40 expiry;
        uint96 maxSupply;
        uint96 maxPerHolder;
        bytes32 sku;
        bytes12 region;
        uint96 price;
        address priceFeed;
        uint32 maxPriceAge;
        address eligibility;
        uint128 stakePerMillion;
        uint16 maxDeviationBps;
    }

    function setUp() public override {
        super.setUp();
        vm.prank(admin.addr);
        IAccessControl(address(credits)).grantRole(ISSUER_ROLE, provider.addr);
    }

    /* createClass */

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
        assertEq(credits.pausedUntil(id), 0, "not paused");
        assertFalse(credits.isClosed(id), "closed");
        _assertSettlement(id, terms);
        _assertReview(id, terms);
        _assertSale(id, terms);
    }

    function test_CreateClass_AtEveryUpperBound() public {
        ClassTerms memory terms = _stakedTerms(type(uint128).max);
        terms.resource = Resource.GbTransfer;
        terms.decimals = 18;
        terms.minAssurance = 3;
        // forge-lint: disable-next-line(unsafe-typecast)
        terms.watcherSet = uint32(watcherSet);
        terms.challengeWindow = uint32(MAX_CHALLENGE_WINDOW);
        terms.maxRate = type(uint64).max;
        terms.expiry = type(uint40).max;
        terms.maxSupply = type(uint96).max;
        terms.maxPerHolder = type(uint96).max;
        terms.pricePerMillion = type(uint96).max;
        (terms.priceFeed, terms.maxPriceAge) = (address(type(uint160).max), uint32(MAX_PRICE_AGE));
        terms.maxDeviationBps = uint16(BPS);
        terms.name = "0123456789012345678901234567890123456789012345678901234567890123";
        uint256 id = _createClass(terms, new address[](MAX_PROVIDERS));
        assertEq(abi.encode(credits.classTerms(id)), abi.encode(terms), "terms read back");
    }

    /// @dev A price that nothing is sold at: budgets are charged by it.
    function testFuzz_CreateClass_GrantedWithAReferencePrice(uint96 price) public {
        ClassTerms memory terms = _grantTerms();
        terms.paymentToken = address(usd);
        terms.pricePerMillion = uint96(bound(price, 1, type(uint96).max));
        SaleTerms memory sale = credits.saleTerms(_createClass(terms));
        assertEq(uint256(sale.funding), uint256(Funding.Grant), "funding");
        assertEq(sale.paymentToken, address(usd), "token");
        assertEq(sale.pricePerMillion, terms.pricePerMillion, "price");
    }

    function testFuzz_CreateClass_FundedByStake(uint128 stake, bool windowed) public {
        ClassTerms memory terms = _prepaidTerms(uint128(bound(stake, 1, type(uint128).max)));
        // forge-lint: disable-next-line(unsafe-typecast)
        if (windowed) (terms.challengeWindow, terms.arbiterSet) = (WINDOW, uint32(arbiterSet));
        uint256 id = _expectBound(terms);
        assertEq(credits.reviewTerms(id).stakePerMillion, terms.stakePerMillion, "stake");
        assertEq(uint256(credits.reviewTerms(id).funding), uint256(Funding.Stake), "funding");
        assertEq(ClassPolicy.isStaked(credits.policyOf(id)), windowed, "stake by the job, too");
        assertEq(credits.providerTerms(id, provider.addr).staked, windowed, "stake by the job, when it is accepted");
    }

    function test_CreateClass_BoundToCapacity() public {
        ClassTerms memory terms = _watchedTerms();
        (terms.issuer, terms.capacityBound) = (provider.addr, true);
        uint256 id = _expectBound(terms);
        assertTrue(credits.classTerms(id).capacityBound, "capacity-bound");
        assertEq(uint256(credits.saleTerms(id).funding), uint256(Funding.Sale), "funding");
    }

    /// @dev The registry hears of a class that is to be held against something, and of no other.
    function test_CreateClass_TellsTheRegistryOfBoundClassesOnly() public {
        vm.expectCall(address(registry), abi.encodePacked(IProviderRegistry.bindClass.selector), 0);
        _createClass(_stakedTerms(1));
        assertEq(registry.boundClassesOf(issuer.addr).length, 0, "nothing is bound");
    }

    function test_CreateClass_AnnouncesItsUri() public {
        vm.recordLogs();
        uint256 id = _createClass(_saleTerms());
        Vm.Log[] memory logs = vm.getRecordedLogs();
        assertEq(logs[0].topics[0], IComputeCredits.ClassCreated.selector, "first event");
        assertEq(logs[1].topics[0], IERC1155.URI.selector, "second event");
        assertEq(logs[1].topics[1], bytes32(id), "of the class");
        assertEq(abi.decode(logs[1].data, (string)), IERC1155MetadataURI(address(credits)).uri(id), "the URI it has");
    }

    function testFuzz_IsListed(address listed, address other) public {
        vm.assume(listed != other);
        uint256 id = _createClass(_saleTerms(), _one(listed));
        assertTrue(credits.providerTerms(id, listed).listed, "listed, in what a job reads");
        assertFalse(credits.providerTerms(id, other).listed, "not listed, in what a job reads");
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
        assertEq(abi.encode(credits.classTerms(plain)), abi.encode(_saleTerms()), "the terms stay");
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
        IERC1155MetadataURI(address(credits)).uri(id);
        _expect(unknown, id, id, count);
        credits.closeClass(id);
    }

    /// @dev What a batch reads of a class may be nothing, but must not stop it.
    function testFuzz_UnknownClassHasNoTerms(uint256 id, address account) public view {
        if (id <= credits.classCount()) id = 0;
        ReviewTerms memory noReview;
        assertEq(credits.classRateCeiling(id), 0, "rate");
        assertEq(credits.policyOf(id), 0, "policy");
        assertEq(abi.encode(credits.reviewTerms(id)), abi.encode(noReview), "review");
        assertEq(credits.providerTerms(id, account).requirement, 0, "requirement");
        assertEq(credits.totalSupply(id), 0, "supply");
        assertEq(credits.pausedUntil(id), 0, "pause");
        assertFalse(credits.isClosed(id), "closed");
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

    function testFuzz_SupportsInterface(bytes4 other) public view {
        bytes4[5] memory ids = [
            type(IERC165).interfaceId,
            type(IERC1155).interfaceId,
            type(IERC1155MetadataURI).interfaceId,
            type(IAccessControl).interfaceId,
            type(IAccessControlDefaultAdminRules).interfaceId
        ];
        IERC165 erc165 = IERC165(address(credits));
        bool known;
        for (uint256 i; i < ids.length; ++i) {
            assertTrue(erc165.supportsInterface(ids[i]), "a standard it follows");
            known = known || ids[i] == other;
        }
        assertEq(erc165.supportsInterface(other), known, "any other");
        assertFalse(erc165.supportsInterface(0xffffffff), "the invalid id");
    }

    /// @dev ERC-5267: what wallets read to show what they sign.
    function test_Eip712Domain() public view {
        (bytes1 fields, string memory name, string memory version, uint256 chainId, address verifying, bytes32 salt,) =
            IERC5267(address(credits)).eip712Domain();
        assertEq(fields, bytes1(0x0f), "fields");
        assertEq(name, "Scrip ComputeCredits", "name");
        assertEq(version, "1", "version");
        assertEq(chainId, block.chainid, "chain");
        assertEq(verifying, address(credits), "contract");
        assertEq(salt, 0, "salt");
    }

    /* HELPERS */

    /// @dev Creates a class of the provider's alone and expects the registry to be told, after the class exists.
    function _expectBound(ClassTerms memory terms) private returns (uint256 id) {
        uint256 next = credits.classCount() + 1;
        vm.expectCall(address(registry), abi.encodeCall(IProviderRegistry.bindClass, (provider.addr, next)), 1);
        vm.expectEmit(address(registry));
        emit IProviderRegistry.ClassBound(provider.addr, next);
        id = _createClass(terms, _one(provider.addr));
        uint256[] memory bound_ = registry.boundClassesOf(provider.addr);
        assertEq(bound_.length, 1, "one class is bound");
        assertEq(bound_[0], id, "this one");
        assertEq(abi.encode(credits.classTerms(id)), abi.encode(terms), "terms read back");
    }

    /// @dev Any terms of a class for sale, brought into their ranges.
    function _bounded(Numbers memory n) private view returns (ClassTerms memory t) {
        t = _saleTerms();
        t.resource = Resource(bound(n.resource, 1, uint256(type(Resource).max)));
        t.decimals = uint8(bound(n.decimals, 0, 18));
        t.transferable = n.transferable;
        t.minAssurance = uint8(bound(n.minAssurance, 0, 3));
        // forge-lint: disable-next-line(unsafe-typecast)
        if (n.watched || t.minAssurance >= 2) t.watcherSet = uint32(watcherSet);
        t.challengeWindow = uint32(bound(n.challengeWindow, 0, MAX_CHALLENGE_WINDOW));
        // With arbiters stake can be asked for, with a window or without.
        // forge-lint: disable-next-line(unsafe-typecast)
        if (t.challengeWindow != 0 || n.watched) t.arbiterSet = uint32(arbiterSet);
        if (t.arbiterSet != 0) t.stakePerMillion = n.stakePerMillion;
        t.maxRate = uint64(bound(n.maxRate, 1, type(uint64).max));
        t.expiry = n.expiry <= START ? 0 : n.expiry;
        t.maxSupply = uint96(bound(n.maxSupply, 1, type(uint96).max));
        (t.maxPerHolder, t.eligibility) = (n.maxPerHolder, n.eligibility);
        (t.sku, t.region) = (n.sku, n.region);
        t.pricePerMillion = uint96(bound(n.price, 1, type(uint96).max));
        if (n.priceFeed == address(0)) return t;
        t.priceFeed = n.priceFeed;
        t.maxPriceAge = uint32(bound(n.maxPriceAge, 1, MAX_PRICE_AGE));
        t.maxDeviationBps = uint16(bound(n.maxDeviationBps, 1, BPS));
    }

    function _assertSettlement(uint256 id, ClassTerms memory terms) private view {
        // Set aside for jobs only where a verdict about one can take it.
        bool staked = terms.stakePerMillion != 0 && terms.challengeWindow != 0;
        uint256 policy = credits.policyOf(id);
        bytes20 requirement = registry.requirementOf(terms.sku, terms.region);
        assertEq(credits.classRateCeiling(id), terms.maxRate, "rate");
        assertEq(ClassPolicy.minAssurance(policy), terms.minAssurance, "assurance");
        assertEq(ClassPolicy.isWindowed(policy), terms.challengeWindow != 0, "windowed");
        assertEq(ClassPolicy.isStaked(policy), staked, "staked");
        assertFalse(ClassPolicy.isListed(policy), "anyone may serve, in what a job reads");
        assertEq(ClassPolicy.requirement(policy), requirement, "requirement, in what a job reads");
        ServingTerms memory serving = credits.providerTerms(id, provider.addr);
        assertEq(serving.requirement, requirement, "requirement");
        assertTrue(serving.listed, "anyone may serve");
        assertEq(serving.staked, staked, "staked, when a job is accepted");
    }

    function _assertReview(uint256 id, ClassTerms memory terms) private view {
        ReviewTerms memory r = credits.reviewTerms(id);
        assertEq(r.watcherSet, terms.watcherSet, "watchers");
        assertEq(r.arbiterSet, terms.arbiterSet, "arbiters");
        assertEq(r.challengeWindow, terms.challengeWindow, "window");
        assertEq(r.stakePerMillion, terms.stakePerMillion, "stake");
        assertEq(r.decimals, terms.decimals, "decimals");
        assertEq(uint256(r.resource), uint256(terms.resource), "resource");
        assertEq(uint256(r.funding), uint256(terms.funding), "funding");
    }

    function _assertSale(uint256 id, ClassTerms memory terms) private view {
        SaleTerms memory sale = credits.saleTerms(id);
        assertEq(uint256(sale.funding), uint256(Funding.Sale), "funding of the sale");
        assertEq(sale.decimals, terms.decimals, "decimals of the sale");
        assertTrue(sale.open, "open");
        assertEq(sale.paymentToken, terms.paymentToken, "token");
        assertEq(sale.pricePerMillion, terms.pricePerMillion, "price");
        assertEq(sale.priceFeed, terms.priceFeed, "feed");
        assertEq(sale.maxPriceAge, terms.maxPriceAge, "age");
        assertEq(sale.maxDeviationBps, terms.maxDeviationBps, "deviation");
    }
}
