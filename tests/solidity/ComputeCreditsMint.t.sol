// SPDX-License-Identifier: MIT
pragma solidity ^0.8.30;

import {IAccessControl} from "@openzeppelin/contracts/access/IAccessControl.sol";
import {IERC1155Errors} from "@openzeppelin/contracts/interfaces/draft-IERC6093.sol";
import {IERC1155} from "@openzeppelin/contracts/token/ERC1155/IERC1155.sol";
import {IComputeCredits} from "contracts/interfaces/IComputeCredits.sol";
import {IProviderRegistry} from "contracts/interfaces/IProviderRegistry.sol";
import {ClassTerms, Funding, Usage} from "contracts/interfaces/Types.sol";
import {Base} from "./Base.t.sol";
import {AllowList} from "./support/Wallets.sol";

/// @dev What makes and destroys credits: grant, mint and burn; and who may call what is the reserve's, the market's and
/// the sessions'.
contract ComputeCreditsMintTest is Base {
    uint256 private granted;

    function setUp() public override {
        super.setUp();
        granted = _createClass(_grantTerms());
    }

    /* WHO MAY CALL */

    function testFuzz_RevertWhen_CallerIsNotTheReserve(address caller, uint256 units) public {
        vm.assume(caller != address(reserve));
        bytes4 reason = IComputeCredits.ComputeCredits_NotAuthorised.selector;
        vm.startPrank(caller);
        _expect(reason, plain, caller, address(reserve));
        credits.mint(alice.addr, plain, units);
        _expect(reason, plain, caller, address(reserve));
        credits.burn(alice.addr, plain, units);
    }

    function testFuzz_RevertWhen_CallerIsNotTheMarket(address caller, uint256 units) public {
        vm.assume(caller != address(market));
        bytes4 reason = IComputeCredits.ComputeCredits_NotAuthorised.selector;
        vm.startPrank(caller);
        _expect(reason, plain, caller, address(market));
        credits.lockUnits(alice.addr, plain, units);
        _expect(reason, plain, caller, address(market));
        credits.releaseUnits(plain, new Usage[](1));
    }

    function testFuzz_RevertWhen_CallerIsNotTheSessions(address caller, uint256 units) public {
        vm.assume(caller != address(sessions));
        bytes4 reason = IComputeCredits.ComputeCredits_NotAuthorised.selector;
        vm.startPrank(caller);
        _expect(reason, plain, caller, address(sessions));
        credits.deposit(alice.addr, plain, units);
        _expect(reason, plain, caller, address(sessions));
        credits.refund(alice.addr, plain, units, units);
        _expect(reason, plain, caller, address(sessions));
        credits.spend(plain, units);
    }

    function testFuzz_RevertWhen_GranterIsNotTheIssuer(address caller, uint256 units) public {
        vm.assume(caller != issuer.addr);
        _expect(IComputeCredits.ComputeCredits_NotIssuer.selector, granted, caller, issuer.addr);
        vm.prank(caller);
        credits.grant(alice.addr, granted, units);
    }

    /* MINTING: REVERTS */

    function testFuzz_RevertWhen_GrantOfAClassForSale(uint256 units) public {
        _expect(
            IComputeCredits.ComputeCredits_WrongFunding.selector, plain, uint256(Funding.Sale), uint256(Funding.Grant)
        );
        _grant(alice.addr, plain, units);
    }

    function testFuzz_RevertWhen_MintOfUnknownClass(uint256 id, uint256 units) public {
        uint256 count = credits.classCount();
        if (id <= count) id = 0;
        _expect(IComputeCredits.ComputeCredits_UnknownClass.selector, id, id, count);
        _mint(alice.addr, id, units);
        _expect(IComputeCredits.ComputeCredits_UnknownClass.selector, id, id, count);
        _grant(alice.addr, id, units);
    }

    function testFuzz_RevertWhen_MintOfClosedClass(uint96 units) public {
        _close(plain);
        _expect(IComputeCredits.ComputeCredits_Closed.selector, plain, 1, 0);
        _mint(alice.addr, plain, units);
    }

    function testFuzz_RevertWhen_MintOfExpiredClass(uint96 units, uint40 late) public {
        ClassTerms memory terms = _grantTerms();
        terms.expiry = uint40(START + 1 days);
        uint256 id = _createClass(terms);
        late = uint40(bound(late, uint256(terms.expiry) + 1, type(uint40).max));
        vm.warp(late);
        _expect(IComputeCredits.ComputeCredits_Expired.selector, id, late, terms.expiry);
        _grant(alice.addr, id, units);
    }

    function testFuzz_RevertWhen_SupplyCapExceeded(uint96 max, uint96 first, uint128 more) public {
        ClassTerms memory terms = _grantTerms();
        terms.maxSupply = uint128(bound(max, 1, type(uint96).max));
        uint256 id = _createClass(terms);
        first = uint96(bound(first, 0, terms.maxSupply));
        more = uint128(bound(more, uint256(terms.maxSupply) - first + 1, type(uint128).max));
        _grant(alice.addr, id, first);
        uint256 wanted = uint256(first) + more;
        _expect(IComputeCredits.ComputeCredits_SupplyCap.selector, id, wanted, terms.maxSupply);
        _grant(bob.addr, id, more);
    }

    function testFuzz_RevertWhen_HolderCapExceeded(uint96 cap, uint96 first, uint96 more) public {
        ClassTerms memory terms = _grantTerms();
        terms.maxPerHolder = uint128(bound(cap, 1, type(uint96).max / 2));
        uint256 id = _createClass(terms);
        first = uint96(bound(first, 0, terms.maxPerHolder));
        more = uint96(bound(more, uint256(terms.maxPerHolder) - first + 1, type(uint96).max / 2));
        _grant(alice.addr, id, first);
        uint256 wanted = uint256(first) + more;
        _expect(IComputeCredits.ComputeCredits_HolderCap.selector, id, wanted, terms.maxPerHolder);
        _grant(alice.addr, id, more);
    }

    function testFuzz_RevertWhen_ReceiverNotEligible(address to, uint96 units) public {
        vm.assume(to != address(0) && to != address(market) && to != address(sessions));
        ClassTerms memory terms = _grantTerms();
        AllowList list = new AllowList();
        terms.eligibility = address(list);
        uint256 id = _createClass(terms);
        _expect(IComputeCredits.ComputeCredits_NotEligible.selector, id, to, address(list));
        _grant(to, id, units);
    }

    /// @dev Units reach the market and the sessions by lock and deposit only, and nobody holds them for nobody.
    function testFuzz_RevertWhen_MintToTheMarketOrTheSessions(uint96 units) public {
        address[3] memory refused = [address(0), address(market), address(sessions)];
        for (uint256 i; i < refused.length; ++i) {
            bytes memory reason = abi.encodeWithSelector(IERC1155Errors.ERC1155InvalidReceiver.selector, refused[i]);
            vm.expectRevert(reason);
            _mint(refused[i], plain, units);
            vm.expectRevert(reason);
            _grant(refused[i], granted, units);
        }
    }

    /* MINTING: SUCCESS */

    function testFuzz_Grant(address to, uint96 units) public {
        _assumeStranger(to);
        vm.expectEmit(address(credits));
        emit IERC1155.TransferSingle(issuer.addr, address(0), to, granted, units);
        _grant(to, granted, units);
        _assertCredits(to, granted, units, "holder");
        assertEq(credits.totalSupply(granted), units, "supply");
        assertEq(reserve.backingOf(granted), 0, "nothing backs a grant");
    }

    function testFuzz_Grant_UpToBothCaps(uint96 cap, uint40 when) public {
        ClassTerms memory terms = _grantTerms();
        cap = uint96(bound(cap, 1, type(uint96).max));
        (terms.maxSupply, terms.maxPerHolder) = (cap, cap);
        terms.expiry = uint40(bound(when, START + 1, type(uint40).max));
        uint256 id = _createClass(terms);
        vm.warp(terms.expiry);
        _grant(alice.addr, id, cap);
        _assertCredits(alice.addr, id, cap, "holder");
    }

    function testFuzz_Mint(uint96 first, uint96 second) public {
        first = uint96(bound(first, 0, type(uint96).max - second));
        _mint(alice.addr, plain, first);
        _mint(bob.addr, plain, second);
        _assertCredits(alice.addr, plain, first, "alice");
        _assertCredits(bob.addr, plain, second, "bob");
        assertEq(credits.totalSupply(plain), uint256(first) + second, "supply");
    }

    function testFuzz_Mint_ToAnEligibleAccount(address to, uint96 units) public {
        _assumeStranger(to);
        ClassTerms memory terms = _grantTerms();
        AllowList list = new AllowList();
        list.allow(to);
        terms.eligibility = address(list);
        uint256 id = _createClass(terms);
        _grant(to, id, units);
        _assertCredits(to, id, units, "holder");
    }

    /* MINTING AGAINST STAKE AND CAPACITY */

    function testFuzz_RevertWhen_GrantBeyondTheStake(uint96 staked, uint96 units) public {
        uint256 id = _prepaid();
        staked = uint96(bound(staked, 1, MAX_UNITS));
        units = uint96(bound(units, uint256(staked) + 1, MAX_UNITS + 1));
        _stake(provider.addr, staked);
        _expect(IProviderRegistry.ProviderRegistry_StakeExceeded.selector, provider.addr, units, staked);
        _grantPrepaid(id, units);
    }

    /// @dev The issuer of a stake-funded class hands out what its stake covers, and not by way of the reserve.
    function testFuzz_Grant_UpToTheStake(uint96 staked, uint96 first) public {
        uint256 id = _prepaid();
        staked = uint96(bound(staked, 1, MAX_UNITS));
        first = uint96(bound(first, 0, staked));
        _stake(provider.addr, staked);
        _grantPrepaid(id, first);
        _grantPrepaid(id, staked - first);
        _assertCredits(alice.addr, id, staked, "holder");
        assertEq(registry.requiredStakeOf(provider.addr), staked, "all of the stake stands behind it");
        _expect(IProviderRegistry.ProviderRegistry_StakeExceeded.selector, provider.addr, uint256(staked) + 1, staked);
        _grantPrepaid(id, 1);
    }

    /// @dev Nothing was attested, so nothing may exist.
    function testFuzz_RevertWhen_MintBeyondTheCapacity(uint96 units) public {
        uint256 id = _capacityBound(type(uint64).max);
        units = uint96(bound(units, 1, type(uint64).max));
        _expect(IProviderRegistry.ProviderRegistry_CapacityExceeded.selector, provider.addr, 1, 0);
        _mint(alice.addr, id, units);
    }

    function testFuzz_Mint_UpToTheCapacity(uint32 count, uint32 left, uint64 rate) public {
        count = uint32(bound(count, 1, 10_000));
        left = uint32(bound(left, 1, 30 days));
        rate = uint64(bound(rate, 1, 1_000_000));
        uint256 id = _capacityBound(rate);
        _attestCapacity(count, uint40(START + left));
        uint256 most = uint256(count) * left * rate;
        _mint(alice.addr, id, most);
        _assertCredits(alice.addr, id, most, "holder");
        uint256 seconds_ = uint256(count) * left;
        _expect(IProviderRegistry.ProviderRegistry_CapacityExceeded.selector, provider.addr, seconds_ + 1, seconds_);
        _mint(alice.addr, id, 1);
    }

    /// @dev The registry is asked once the units exist, and before the receiver is told of them.
    function test_Mint_AsksTheRegistryOfBoundClassesOnly() public {
        uint256 id = _prepaid();
        _stake(provider.addr, 1);
        vm.expectCall(address(registry), abi.encodeCall(IProviderRegistry.checkIssuance, (provider.addr, id)), 1);
        _grantPrepaid(id, 1);
        vm.expectCall(address(registry), abi.encodePacked(IProviderRegistry.checkIssuance.selector), 0);
        _grant(alice.addr, granted, 1);
        _mint(alice.addr, plain, 1);
    }

    /* BURNING */

    function testFuzz_RevertWhen_BurnOfMoreThanHeld(uint96 held, uint256 units) public {
        units = bound(units, uint256(held) + 1, type(uint256).max);
        _mint(alice.addr, plain, held);
        _expectMissing(alice.addr, held, units);
        vm.prank(address(reserve));
        credits.burn(alice.addr, plain, units);
    }

    function testFuzz_Burn(uint96 held, uint96 units) public {
        units = uint96(bound(units, 0, held));
        _mint(alice.addr, plain, held);
        vm.expectEmit(address(credits));
        emit IERC1155.TransferSingle(address(reserve), alice.addr, address(0), plain, units);
        vm.prank(address(reserve));
        assertEq(credits.burn(alice.addr, plain, units), held, "supply before");
        _assertCredits(alice.addr, plain, held - units, "holder");
        assertEq(credits.totalSupply(plain), held - units, "supply");
    }

    /* HELPERS */

    function _mint(address to, uint256 id, uint256 units) private {
        vm.prank(address(reserve));
        credits.mint(to, id, units);
    }

    function _grant(address to, uint256 id, uint256 units) private {
        vm.prank(issuer.addr);
        credits.grant(to, id, units);
    }

    function _issuerOfItsOwn() private {
        vm.prank(admin.addr);
        IAccessControl(address(credits)).grantRole(ISSUER_ROLE, provider.addr);
    }

    /// @dev A class with one base unit of the stake token behind each unit.
    function _prepaid() private returns (uint256) {
        _issuerOfItsOwn();
        ClassTerms memory terms = _prepaidTerms(1_000_000);
        terms.decimals = 0;
        return _createClass(terms, _one(provider.addr));
    }

    function _grantPrepaid(uint256 id, uint256 units) private {
        vm.prank(provider.addr);
        credits.grant(alice.addr, id, units);
    }

    function _capacityBound(uint64 rate) private returns (uint256) {
        _issuerOfItsOwn();
        ClassTerms memory terms = _watchedTerms();
        (terms.issuer, terms.capacityBound, terms.maxRate) = (provider.addr, true, rate);
        return _createClass(terms, _one(provider.addr));
    }

    function _attestCapacity(uint32 count, uint40 until) private {
        uint40 observedAt = uint40(_now());
        bytes32 digest = registry.capacityDigest(provider.addr, SKU, watcherSet, count, until, observedAt);
        bytes[] memory signatures = new bytes[](THRESHOLD);
        for (uint256 i; i < THRESHOLD; ++i) {
            signatures[i] = _sign(watchers[i], digest);
        }
        registry.attestCapacity(provider.addr, SKU, watcherSet, count, until, observedAt, signatures);
    }

    function _expectMissing(address account, uint256 held, uint256 units) private {
        vm.expectRevert(
            abi.encodeWithSelector(IERC1155Errors.ERC1155InsufficientBalance.selector, account, held, units, plain)
        );
    }
}
