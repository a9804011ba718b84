// SPDX-License-Identifier: MIT
pragma solidity ^0.8.30;

import {IERC1155Errors} from "@openzeppelin/contracts/interfaces/draft-IERC6093.sol";
import {IERC5267} from "@openzeppelin/contracts/interfaces/IERC5267.sol";
import {IComputeCredits} from "contracts/interfaces/IComputeCredits.sol";
import {IJobMarket} from "contracts/interfaces/IJobMarket.sol";
import {ClassTerms, JobTerms, Status} from "contracts/interfaces/Types.sol";
import {Base} from "./Base.t.sol";

/// @dev open, with and without a quote.
contract JobMarketOpenTest is Base {
    bytes32 private constant DOMAIN_TYPEHASH =
        keccak256("EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)");
    bytes32 private constant TERMS_TYPEHASH = keccak256(
        "JobTerms(address payer,address provider,uint256 classId,uint128 maxUnits,uint32 resources,uint40 acceptBy,uint40 submitBy,bytes32 specHash,uint256 budgetId,uint256 salt)"
    );
    bytes32 private constant QUOTE_TYPEHASH = keccak256("Acceptance(bytes32 jobId)");

    /* TERMS: REVERTS */

    function testFuzz_RevertWhen_CallerIsNotThePayer(address caller) public {
        vm.assume(caller != alice.addr);
        JobTerms memory terms = _ready(1);
        bytes32 jobId = market.hashTerms(terms);
        _expect(IJobMarket.JobMarket_NotPayer.selector, jobId, _number(caller), _number(alice.addr));
        vm.prank(caller);
        market.open(terms, "");
    }

    function testFuzz_RevertWhen_PayerNamesABudget(uint256 budgetId) public {
        JobTerms memory terms = _ready(1);
        terms.budgetId = bound(budgetId, 1, type(uint256).max);
        _expectFault(terms, IJobMarket.JobMarket_BudgetMismatch.selector, terms.budgetId, 0);
    }

    function test_RevertWhen_NoUnits() public {
        JobTerms memory terms = _ready(1);
        terms.maxUnits = 0;
        _expectFault(terms, IJobMarket.JobMarket_ZeroUnits.selector, 0, 1);
    }

    function test_RevertWhen_NoResources() public {
        JobTerms memory terms = _ready(1);
        terms.resources = 0;
        _expectFault(terms, IJobMarket.JobMarket_ZeroResources.selector, 0, 1);
    }

    function testFuzz_RevertWhen_TooLateToAccept(uint40 acceptBy) public {
        JobTerms memory terms = _ready(1);
        terms.acceptBy = uint40(bound(acceptBy, 0, START - 1));
        _expectFault(terms, IJobMarket.JobMarket_DeadlinePassed.selector, START, terms.acceptBy);
    }

    function testFuzz_RevertWhen_SubmittedBeforeAccepted(uint40 acceptBy, uint40 submitBy) public {
        JobTerms memory terms = _ready(1);
        terms.acceptBy = uint40(bound(acceptBy, START, type(uint40).max));
        terms.submitBy = uint40(bound(submitBy, 0, terms.acceptBy - 1));
        _expectFault(terms, IJobMarket.JobMarket_DeadlineOrder.selector, terms.submitBy, terms.acceptBy);
    }

    function testFuzz_RevertWhen_DeadlineTooFar(uint40 submitBy) public {
        JobTerms memory terms = _ready(1);
        uint256 latest = START + MAX_DURATION;
        terms.submitBy = uint40(bound(submitBy, latest + 1, type(uint40).max));
        _expectFault(terms, IJobMarket.JobMarket_DeadlineTooFar.selector, terms.submitBy, latest);
    }

    function testFuzz_RevertWhen_OpenedTwice(uint128 units) public {
        (JobTerms memory terms,) = _openNew(plain, bound(units, 1, MAX_UNITS));
        _buy(alice.addr, plain, terms.maxUnits);
        _expectFault(terms, IJobMarket.JobMarket_WrongStatus.selector, uint256(Status.Open), uint256(Status.None));
    }

    /* CREDITS: REVERTS */

    function testFuzz_RevertWhen_PayerHoldsTooLittle(uint128 held, uint128 units) public {
        units = uint128(bound(units, 1, MAX_UNITS));
        held = uint128(bound(held, 0, units - 1));
        if (held != 0) _buy(alice.addr, plain, held);
        JobTerms memory terms = _terms(plain, units);
        vm.expectRevert(
            abi.encodeWithSelector(IERC1155Errors.ERC1155InsufficientBalance.selector, alice.addr, held, units, plain)
        );
        _open(terms);
    }

    function testFuzz_RevertWhen_ClassUnknown(uint256 classId) public {
        vm.assume(classId != plain && classId != watched);
        JobTerms memory terms = _terms(classId, 1);
        _expect(IComputeCredits.ComputeCredits_UnknownClass.selector, classId, classId, credits.classCount());
        _open(terms);
    }

    function test_RevertWhen_ClassExpired() public {
        ClassTerms memory class_ = _saleTerms();
        class_.expiry = uint40(START + 1);
        uint256 id = _createClass(class_);
        _buy(alice.addr, id, 1);
        vm.warp(START + 2);
        JobTerms memory terms = _terms(id, 1);
        _expect(IComputeCredits.ComputeCredits_Expired.selector, id, START + 2, START + 1);
        _open(terms);
    }

    /* QUOTE: REVERTS */

    function testFuzz_RevertWhen_QuoteSignedByAnother(uint256 seed) public {
        JobTerms memory terms = _ready(1);
        Account memory other = makeAccount(vm.toString(seed));
        bytes32 jobId = market.hashTerms(terms);
        bytes memory quote = _quote(terms, other);
        _expect(IJobMarket.JobMarket_BadSignature.selector, jobId, _number(other.addr), _number(oracle.addr));
        vm.prank(alice.addr);
        market.open(terms, quote);
    }

    /// @dev The oracle key signs for its provider, not the provider's own account.
    function test_RevertWhen_QuoteSignedByTheProvider() public {
        JobTerms memory terms = _ready(1);
        bytes32 jobId = market.hashTerms(terms);
        bytes memory quote = _quote(terms, provider);
        _expect(IJobMarket.JobMarket_BadSignature.selector, jobId, _number(provider.addr), _number(oracle.addr));
        vm.prank(alice.addr);
        market.open(terms, quote);
    }

    function testFuzz_RevertWhen_QuoteIsForOtherTerms(uint128 units) public {
        JobTerms memory terms = _ready(1);
        units = uint128(bound(units, 2, type(uint128).max));
        terms.maxUnits = units;
        bytes memory quote = _quote(terms, oracle);
        terms.maxUnits = 1;
        vm.expectPartialRevert(IJobMarket.JobMarket_BadSignature.selector);
        vm.prank(alice.addr);
        market.open(terms, quote);
    }

    function testFuzz_RevertWhen_QuoteIsMalformed(bytes memory quote) public {
        vm.assume(quote.length != 0 && quote.length != 65);
        JobTerms memory terms = _ready(1);
        _expect(IJobMarket.JobMarket_BadSignature.selector, market.hashTerms(terms), 0, _number(oracle.addr));
        vm.prank(alice.addr);
        market.open(terms, quote);
    }

    function testFuzz_RevertWhen_QuotedProviderIsUnknown(address other) public {
        vm.assume(other != provider.addr);
        JobTerms memory terms = _ready(1);
        terms.provider = other;
        _expectCannotServe(terms);
    }

    function test_RevertWhen_QuotedProviderLeftTheSku() public {
        JobTerms memory terms = _ready(1);
        vm.prank(provider.addr);
        registry.setSkus(_one(SKU), false);
        _expectCannotServe(terms);
    }

    function testFuzz_RevertWhen_QuotedProviderIsInAnotherRegion(bytes12 region) public {
        vm.assume(region != 0 && region != REGION);
        ClassTerms memory class_ = _saleTerms();
        class_.region = region;
        uint256 id = _createClass(class_);
        _buy(alice.addr, id, 1);
        _expectCannotServe(_terms(id, 1));
    }

    function testFuzz_RevertWhen_QuotedProviderIsNotListed(address listed) public {
        vm.assume(listed != provider.addr);
        uint256 id = _createClass(_saleTerms(), _one(listed));
        _buy(alice.addr, id, 1);
        _expectCannotServe(_terms(id, 1));
    }

    /* SUCCESS */

    function testFuzz_Open(uint128 held, uint128 units, uint40 acceptBy, uint40 submitBy) public {
        held = uint128(bound(held, 1, MAX_UNITS));
        _buy(alice.addr, plain, held);
        JobTerms memory terms = _terms(plain, bound(units, 1, held));
        terms.acceptBy = uint40(bound(acceptBy, START, START + MAX_DURATION));
        terms.submitBy = uint40(bound(submitBy, terms.acceptBy, START + MAX_DURATION));
        bytes32 jobId = market.hashTerms(terms);
        _expectOpened(jobId, terms, false);
        vm.prank(alice.addr);
        assertEq(market.open(terms, ""), jobId, "job id");
        _assertStatus(jobId, Status.Open);
        assertEq(market.jobs(jobId).openedAt, START, "opened at");
        _assertLocked(alice.addr, plain, terms.maxUnits, "locked");
        _assertCredits(alice.addr, plain, held - terms.maxUnits, "payer");
        assertEq(credits.totalSupply(plain), held, "supply");
    }

    function testFuzz_Open_WithAQuoteRuns(uint128 units) public {
        JobTerms memory terms = _ready(bound(units, 1, MAX_UNITS));
        bytes32 jobId = market.hashTerms(terms);
        bytes memory quote = _quote(terms, oracle);
        _expectOpened(jobId, terms, true);
        vm.expectEmit(address(market), 0);
        emit IJobMarket.JobAccepted(jobId, provider.addr);
        vm.prank(alice.addr);
        market.open(terms, quote);
        _assertStatus(jobId, Status.Running);
        _assertLocked(alice.addr, plain, terms.maxUnits, "locked");
    }

    function test_Open_WithAQuoteInTheRightRegionByAListedProvider() public {
        ClassTerms memory class_ = _saleTerms();
        class_.region = REGION;
        uint256 id = _createClass(class_, _one(provider.addr));
        _buy(alice.addr, id, 1);
        _assertStatus(_run(_terms(id, 1)), Status.Running);
    }

    /// @dev Nobody can know the seed of a job's evidence before the block that opens it.
    function testFuzz_Open_DrawsANonce(bytes32 previous) public {
        JobTerms memory terms = _ready(1);
        vm.setBlockhash(vm.getBlockNumber() - 1, previous);
        bytes32 jobId = _open(terms);
        assertEq(market.jobs(jobId).nonce, uint96(uint256(previous)), "nonce");
    }

    /* DIGESTS */

    function testFuzz_HashTerms(JobTerms memory terms) public view {
        bytes32 structHash = keccak256(
            bytes.concat(
                abi.encode(TERMS_TYPEHASH, terms.payer, terms.provider, terms.classId, terms.maxUnits),
                abi.encode(terms.resources, terms.acceptBy, terms.submitBy, terms.specHash),
                abi.encode(terms.budgetId, terms.salt)
            )
        );
        assertEq(market.hashTerms(terms), _digest(structHash), "job id");
    }

    function testFuzz_QuoteDigest(bytes32 jobId) public view {
        assertEq(market.quoteDigest(jobId), _digest(keccak256(abi.encode(QUOTE_TYPEHASH, jobId))), "digest");
    }

    function test_Domain() public view {
        (, string memory name, string memory version, uint256 chainId, address self,,) =
            IERC5267(address(market)).eip712Domain();
        assertEq(name, "Scrip JobMarket", "name");
        assertEq(version, "1", "version");
        assertEq(chainId, block.chainid, "chain");
        assertEq(self, address(market), "contract");
    }

    /* HELPERS */

    /// @dev Terms that alice has the credits for.
    function _ready(uint256 units) private returns (JobTerms memory) {
        _buy(alice.addr, plain, units);
        return _terms(plain, units);
    }

    function _digest(bytes32 structHash) private view returns (bytes32) {
        bytes32 domain = keccak256(
            abi.encode(DOMAIN_TYPEHASH, keccak256("Scrip JobMarket"), keccak256("1"), block.chainid, address(market))
        );
        return keccak256(abi.encodePacked("\x19\x01", domain, structHash));
    }

    function _expectFault(JobTerms memory terms, bytes4 reason, uint256 given, uint256 limit) private {
        _expect(reason, market.hashTerms(terms), given, limit);
        _open(terms);
    }

    function _expectCannotServe(JobTerms memory terms) private {
        bytes memory quote = _quote(terms, oracle);
        _expect(
            IJobMarket.JobMarket_CannotServe.selector, market.hashTerms(terms), _number(terms.provider), terms.classId
        );
        vm.prank(alice.addr);
        market.open(terms, quote);
    }

    function _expectOpened(bytes32 jobId, JobTerms memory t, bool quoted) private {
        vm.expectEmit(address(market));
        emit IJobMarket.JobOpened(
            jobId,
            t.payer,
            t.provider,
            t.classId,
            t.maxUnits,
            t.resources,
            t.acceptBy,
            t.submitBy,
            t.specHash,
            t.budgetId,
            t.salt,
            uint96(uint256(blockhash(vm.getBlockNumber() - 1))),
            quoted
        );
    }
}
