// SPDX-License-Identifier: MIT
pragma solidity ^0.8.30;

import {IAccessControl} from "@openzeppelin/contracts/access/IAccessControl.sol";
import {IClassMetadata} from "contracts/interfaces/IClassMetadata.sol";
import {IComputeCredits} from "contracts/interfaces/IComputeCredits.sol";
import {ICreditReserve} from "contracts/interfaces/ICreditReserve.sol";
import {IJobMarket} from "contracts/interfaces/IJobMarket.sol";
import {IProviderRegistry} from "contracts/interfaces/IProviderRegistry.sol";
import {IReceiptVerifier} from "contracts/interfaces/IReceiptVerifier.sol";
import {
    Attestation,
    ClassTerms,
    Funding,
    JobTerms,
    Outcome,
    Receipt as JobReceipt,
    Resource,
    Status
} from "contracts/interfaces/Types.sol";
import {IDemoUSD} from "./support/IDemoUSD.sol";
import {TestHelpers} from "./support/TestHelpers.sol";

/// @dev Deploys the whole system and knows how to build, sign and send everything the tests need.
/// Contracts are deployed from their artifacts, so a test compiles against interfaces alone and what is tested is the
/// bytecode that is deployed.
abstract contract Base is TestHelpers {
    /* CONSTANTS */

    uint256 internal constant START = 1_800_000_000;
    uint48 internal constant ADMIN_DELAY = 1 days;
    uint256 internal constant UNBONDING_DELAY = 7 days;
    uint256 internal constant ACTIVATION_DELAY = 2 days;
    uint256 internal constant SWEEP_DELAY = 180 days;
    uint256 internal constant MAX_DURATION = 30 days;
    uint256 internal constant THRESHOLD = 2;
    uint256 internal constant BPS = 10_000;
    uint256 internal constant MAX_FEE_BPS = 500;

    bytes32 internal constant ISSUER_ROLE = keccak256("ISSUER_ROLE");
    bytes32 internal constant FEE_ROLE = keccak256("FEE_ROLE");
    bytes32 internal constant WATCHER_ADMIN_ROLE = keccak256("WATCHER_ADMIN_ROLE");

    bytes32 internal constant SKU = keccak256("smollm2-135m");
    bytes12 internal constant REGION = "eu-west-1";
    /// @dev Payment token base units for 1,000,000 credits: odd, so that prices have to be rounded.
    uint128 internal constant PRICE = 1_234_567;
    uint8 internal constant DECIMALS = 3;
    /// @dev Base units that PRICE buys.
    uint256 internal constant PRICE_UNITS = 1_000_000 * 10 ** uint256(DECIMALS);
    /// @dev Largest amount of units that fuzzed tests use.
    uint128 internal constant MAX_UNITS = 1e18;
    uint32 internal constant WINDOW = 1 hours;

    /* PARTIES */

    Account internal admin = makeAccount("admin");
    Account internal issuer = makeAccount("issuer");
    Account internal provider = makeAccount("provider");
    Account internal oracle = makeAccount("oracle");
    Account internal alice = makeAccount("alice");
    Account internal bob = makeAccount("bob");
    address internal anyone = makeAddr("anyone");
    /// @dev Sorted by address, as the verifier wants them.
    Account[] internal watchers;

    /* CONTRACTS */

    IDemoUSD internal usd;
    IProviderRegistry internal registry;
    IReceiptVerifier internal verifier;
    IComputeCredits internal credits;
    ICreditReserve internal reserve;
    IJobMarket internal market;

    /// @dev Sold, transferable, assurance 1, settles at once.
    uint256 internal plain;
    /// @dev As `plain`, with assurance 2 by the watchers of `watcherSet`.
    uint256 internal watched;
    uint256 internal watcherSet;

    uint256 private _salt;

    /* SET-UP */

    function setUp() public virtual {
        vm.warp(START);
        vm.roll(1_000);
        _deploy();
        _grantRoles();
        _registerProvider(provider.addr, oracle.addr);
        for (uint256 i; i < 3; ++i) {
            watchers.push(makeAccount(string.concat("watcher-", vm.toString(i))));
        }
        _sort(watchers);
        watcherSet = _newSet(_addresses(watchers), THRESHOLD);
        plain = _createClass(_saleTerms());
        watched = _createClass(_watchedTerms());
    }

    /// @dev Three contracts name each other as immutables, so their addresses are known before they exist.
    function _deploy() private {
        usd = IDemoUSD(deployCode("DemoUSD.sol:DemoUSD"));
        IClassMetadata metadata = IClassMetadata(deployCode("ClassMetadata.sol:ClassMetadata"));
        registry = IProviderRegistry(
            deployCode("ProviderRegistry.sol:ProviderRegistry", abi.encode(address(usd), UNBONDING_DELAY))
        );
        verifier = IReceiptVerifier(
            deployCode("ReceiptVerifier.sol:ReceiptVerifier", abi.encode(admin.addr, ADMIN_DELAY, ACTIVATION_DELAY))
        );
        uint256 nonce = vm.getNonce(address(this));
        address reserveAt = vm.computeCreateAddress(address(this), nonce + 1);
        address marketAt = vm.computeCreateAddress(address(this), nonce + 2);
        credits = IComputeCredits(
            deployCode(
                "ComputeCredits.sol:ComputeCredits", abi.encode(admin.addr, ADMIN_DELAY, reserveAt, marketAt, metadata)
            )
        );
        reserve = ICreditReserve(
            deployCode("CreditReserve.sol:CreditReserve", abi.encode(admin.addr, ADMIN_DELAY, credits, marketAt))
        );
        market = IJobMarket(deployCode("JobMarket.sol:JobMarket", abi.encode(credits, reserve, registry, verifier)));
        assertEq(address(reserve), reserveAt, "reserve address as predicted");
        assertEq(address(market), marketAt, "market address as predicted");
    }

    function _grantRoles() private {
        vm.startPrank(admin.addr);
        IAccessControl(address(credits)).grantRole(ISSUER_ROLE, issuer.addr);
        IAccessControl(address(reserve)).grantRole(FEE_ROLE, admin.addr);
        IAccessControl(address(verifier)).grantRole(WATCHER_ADMIN_ROLE, admin.addr);
        vm.stopPrank();
    }

    /* CLASSES */

    function _saleTerms() internal view returns (ClassTerms memory terms) {
        terms.issuer = issuer.addr;
        terms.resource = Resource.CpuSecond;
        terms.decimals = DECIMALS;
        terms.funding = Funding.Sale;
        terms.transferable = true;
        terms.minAssurance = 1;
        // Never what stops a receipt, unless a test says so.
        terms.maxRate = type(uint64).max;
        terms.maxSupply = type(uint96).max;
        terms.sku = SKU;
        terms.paymentToken = address(usd);
        terms.pricePerMillion = PRICE;
        terms.name = "CPU seconds";
    }

    function _watchedTerms() internal view returns (ClassTerms memory terms) {
        terms = _saleTerms();
        terms.minAssurance = 2;
        // forge-lint: disable-next-line(unsafe-typecast)
        terms.watcherSet = uint32(watcherSet);
        terms.name = "Watched CPU seconds";
    }

    function _grantTerms() internal view returns (ClassTerms memory terms) {
        terms = _saleTerms();
        terms.funding = Funding.Grant;
        terms.paymentToken = address(0);
        terms.pricePerMillion = 0;
        terms.name = "Granted CPU seconds";
    }

    function _windowedTerms() internal view returns (ClassTerms memory terms) {
        terms = _saleTerms();
        terms.challengeWindow = WINDOW;
    }

    function _createClass(ClassTerms memory terms) internal returns (uint256) {
        return _createClass(terms, new address[](0));
    }

    function _createClass(ClassTerms memory terms, address[] memory listed) internal returns (uint256) {
        vm.prank(terms.issuer);
        return credits.createClass(terms, listed);
    }

    function _close(uint256 classId) internal {
        vm.prank(issuer.addr);
        credits.closeClass(classId);
    }

    /* MONEY */

    /// @dev What `units` of a class priced by PRICE and DECIMALS cost: rounded up.
    function _price(uint256 units) internal pure returns (uint256) {
        return (units * PRICE + PRICE_UNITS - 1) / PRICE_UNITS;
    }

    function _fund(address account, uint256 amount) internal {
        usd.mint(account, amount);
        vm.prank(account);
        usd.approve(address(reserve), amount);
    }

    function _buy(address buyer, uint256 classId, uint256 units) internal returns (uint256 cost) {
        cost = reserve.costOf(classId, units);
        _fund(buyer, cost);
        vm.prank(buyer);
        reserve.buy(classId, units, buyer, cost);
    }

    function _setFee(uint256 feeBps) internal {
        vm.prank(admin.addr);
        reserve.setFee(feeBps);
    }

    /* PROVIDERS AND WATCHERS */

    function _registerProvider(address account, address oracleKey) internal {
        vm.prank(account);
        registry.register(oracleKey, REGION, "https://provider.example/agent.json", _one(SKU));
    }

    function _newSet(address[] memory members, uint256 threshold) internal returns (uint256 id) {
        vm.prank(admin.addr);
        id = verifier.proposeSet(0, members, threshold);
        verifier.activateSet(id, members, threshold);
    }

    /* JOBS */

    /// @dev Terms of a new job of alice's: an hour to accept, a day to submit.
    function _terms(uint256 classId, uint256 maxUnits) internal returns (JobTerms memory) {
        return JobTerms({
            payer: alice.addr,
            provider: provider.addr,
            classId: classId,
            // forge-lint: disable-next-line(unsafe-typecast)
            maxUnits: uint128(maxUnits),
            resources: 1,
            acceptBy: uint40(_now() + 1 hours),
            submitBy: uint40(_now() + 1 days),
            specHash: keccak256("spec"),
            budgetId: 0,
            salt: ++_salt
        });
    }

    function _open(JobTerms memory terms) internal returns (bytes32) {
        vm.prank(terms.payer);
        return market.open(terms, "");
    }

    function _run(JobTerms memory terms) internal returns (bytes32) {
        bytes memory quote = _quote(terms, oracle);
        vm.prank(terms.payer);
        return market.open(terms, quote);
    }

    /// @dev Buys what the job needs and starts it by a quote.
    function _runNew(uint256 classId, uint256 maxUnits) internal returns (JobTerms memory terms, bytes32 jobId) {
        terms = _terms(classId, maxUnits);
        _buy(terms.payer, classId, maxUnits);
        jobId = _run(terms);
    }

    function _openNew(uint256 classId, uint256 maxUnits) internal returns (JobTerms memory terms, bytes32 jobId) {
        terms = _terms(classId, maxUnits);
        _buy(terms.payer, classId, maxUnits);
        jobId = _open(terms);
    }

    /// @dev A completed receipt of assurance 1 from the job's opening until now.
    function _receipt(bytes32 jobId, uint256 units) internal view returns (JobReceipt memory receipt) {
        receipt.jobId = jobId;
        receipt.outcome = Outcome.Completed;
        // forge-lint: disable-next-line(unsafe-typecast)
        receipt.units = uint128(units);
        receipt.startedAt = market.jobs(jobId).openedAt;
        receipt.endedAt = uint40(_now());
        receipt.outputHash = keccak256("output");
        receipt.evidenceRoot = keccak256("evidence");
        receipt.assurance = 1;
    }

    function _failed(bytes32 jobId) internal view returns (JobReceipt memory receipt) {
        receipt = _receipt(jobId, 0);
        receipt.outcome = Outcome.Failed;
        receipt.assurance = 0;
    }

    /// @dev Submits by a stranger, signed by the oracle key and as many watchers as the assurance needs.
    function _submit(JobTerms memory terms, JobReceipt memory receipt) internal {
        Attestation memory attestation = _attest(receipt);
        vm.prank(anyone);
        market.submit(terms, receipt, attestation);
    }

    /* SIGNATURES */

    function _quote(JobTerms memory terms, Account memory signer) internal view returns (bytes memory) {
        return _sign(signer, market.quoteDigest(market.hashTerms(terms)));
    }

    function _attest(JobReceipt memory receipt) internal view returns (Attestation memory) {
        return _attest(verifier.receiptDigest(receipt), receipt.assurance >= 2 ? THRESHOLD : 0);
    }

    function _attest(bytes32 digest, uint256 count) internal view returns (Attestation memory) {
        return _attest(oracle, digest, count);
    }

    function _attest(Account memory signer, bytes32 digest, uint256 count)
        internal
        view
        returns (Attestation memory attestation)
    {
        attestation.provider = _sign(signer, digest);
        attestation.watchers = new bytes[](count);
        for (uint256 i; i < count; ++i) {
            attestation.watchers[i] = _sign(watchers[i], digest);
        }
    }

    function _attestBatch(JobReceipt[] memory receipts, uint256 count) internal view returns (Attestation memory) {
        return _attest(verifier.batchDigest(_hashes(receipts)), count);
    }

    function _hashes(JobReceipt[] memory receipts) internal view returns (bytes32[] memory hashes) {
        hashes = new bytes32[](receipts.length);
        for (uint256 i; i < receipts.length; ++i) {
            hashes[i] = verifier.hashReceipt(receipts[i]);
        }
    }

    /* ASSERTIONS */

    function _assertStatus(bytes32 jobId, Status expected) internal view {
        assertEq(uint256(market.jobs(jobId).status), uint256(expected), "job status");
    }

    function _assertCredits(address account, uint256 classId, uint256 expected, string memory label) internal view {
        assertEq(credits.balanceOf(account, classId), expected, label);
    }

    /* SMALL THINGS */

    function _sort(Account[] storage accounts) private {
        for (uint256 i; i < accounts.length; ++i) {
            for (uint256 j = i + 1; j < accounts.length; ++j) {
                if (accounts[j].addr >= accounts[i].addr) continue;
                (Account memory a, Account memory b) = (accounts[i], accounts[j]);
                (accounts[i], accounts[j]) = (b, a);
            }
        }
    }

    /// @dev Neither a contract of the system, nor a party, nor an address the EVM or forge keeps for itself.
    function _assumeStranger(address account) internal view {
        vm.assume(uint160(account) > 0xffff && account.code.length == 0);
        vm.assume(account != admin.addr && account != issuer.addr && account != provider.addr && account != oracle.addr);
        vm.assume(account != alice.addr && account != bob.addr);
    }
}
