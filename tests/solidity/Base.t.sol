// SPDX-License-Identifier: MIT
pragma solidity ^0.8.30;

import {
    Attestation,
    ClassTerms,
    Funding,
    JobTerms,
    Limits,
    Outcome,
    Receipt as JobReceipt,
    Resource,
    Status
} from "contracts/interfaces/Types.sol";
import {Deployment} from "./support/Deployment.sol";

/// @dev Knows how to build, sign and send everything the tests need.
abstract contract Base is Deployment {
    /* CONSTANTS */

    uint256 internal constant START = 1_800_000_000;
    uint256 internal constant SWEEP_DELAY = 180 days;
    uint256 internal constant MAX_DURATION = 30 days;
    uint256 internal constant THRESHOLD = 2;
    uint256 internal constant BPS = 10_000;
    uint256 internal constant MAX_FEE_BPS = 500;
    uint256 internal constant FEE_DELAY = 7 days;

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

    /// @dev Sorted by address, too.
    Account[] internal arbiters;

    /* CLASSES */

    /// @dev Sold, transferable, assurance 1, settles at once.
    uint256 internal plain;
    /// @dev As `plain`, with assurance 2 by the watchers of `watcherSet`.
    uint256 internal watched;
    uint256 internal watcherSet;
    uint256 internal arbiterSet;

    uint256 private _salt;

    /* SET-UP */

    function setUp() public virtual {
        vm.warp(START);
        vm.roll(1_000);
        _deployAll(admin.addr, _sequencerFeed());
        _grantRoles(admin.addr, issuer.addr);
        _registerProvider(provider.addr, oracle.addr);
        for (uint256 i; i < 3; ++i) {
            watchers.push(makeAccount(string.concat("watcher-", vm.toString(i))));
            arbiters.push(makeAccount(string.concat("arbiter-", vm.toString(i))));
        }
        _sort(watchers);
        _sort(arbiters);
        watcherSet = _newSet(_addresses(watchers), THRESHOLD);
        arbiterSet = _newSet(_addresses(arbiters), THRESHOLD);
        plain = _createClass(_saleTerms());
        watched = _createClass(_watchedTerms());
    }

    /// @dev None, as on a chain of its own; tests of rollups override it.
    function _sequencerFeed() internal virtual returns (address) {
        return address(0);
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
        // forge-lint: disable-next-line(unsafe-typecast)
        terms.arbiterSet = uint32(arbiterSet);
        terms.name = "Disputable CPU seconds";
    }

    /// @dev `stakePerMillion` behind a million credits while a provider works on them.
    function _stakedTerms(uint128 stakePerMillion) internal view returns (ClassTerms memory terms) {
        terms = _windowedTerms();
        terms.stakePerMillion = stakePerMillion;
        terms.name = "Staked CPU seconds";
    }

    /// @dev Minted by the provider against its stake; needs ISSUER_ROLE for it.
    function _prepaidTerms(uint128 stakePerMillion) internal view returns (ClassTerms memory terms) {
        terms = _saleTerms();
        terms.issuer = provider.addr;
        terms.funding = Funding.Stake;
        terms.stakePerMillion = stakePerMillion;
        terms.expiry = uint40(_now() + 30 days);
        terms.name = "Prepaid CPU seconds";
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

    /// @dev Proposes the fee and waits until it applies.
    function _setFee(uint256 feeBps) internal {
        vm.prank(admin.addr);
        reserve.proposeFee(feeBps);
        if (reserve.feeBps() == feeBps) return;
        vm.warp(_now() + FEE_DELAY);
        reserve.applyFee();
    }

    function _stake(address account, uint256 amount) internal {
        usd.mint(account, amount);
        vm.startPrank(account);
        usd.approve(address(registry), amount);
        registry.stake(amount);
        vm.stopPrank();
    }

    /* BUDGETS */

    /// @dev Everything allowed to `spender`, for ever.
    function _limits(address spender) internal pure returns (Limits memory limits) {
        limits.spender = spender;
        limits.perAction = type(uint96).max;
        limits.perPeriod = type(uint96).max;
        limits.lifetime = type(uint96).max;
    }

    function _budget(address owner, Limits memory limits) internal returns (uint256) {
        vm.prank(owner);
        return budgets.createBudget(address(usd), limits, new address[](0));
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

    /// @dev Disputes a submission as `challenger`, who is given the bond for it.
    function _challenge(address challenger, JobTerms memory terms) internal {
        usd.mint(challenger, CHALLENGE_BOND);
        vm.startPrank(challenger);
        usd.approve(address(registry), CHALLENGE_BOND);
        market.challenge(terms);
        vm.stopPrank();
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

    /// @dev Arbiters' signatures over a verdict or whatever else.
    function _judge(bytes32 digest, uint256 count) internal view returns (bytes[] memory signatures) {
        signatures = new bytes[](count);
        for (uint256 i; i < count; ++i) {
            signatures[i] = _sign(arbiters[i], digest);
        }
    }

    /* ASSERTIONS */

    /// @dev The job is over: its slot says how until `acceptBy`, and is empty afterwards.
    function _assertEnded(JobTerms memory terms, Status expected) internal view {
        _assertStatus(market.hashTerms(terms), _now() > terms.acceptBy ? Status.None : expected);
    }

    function _assertStatus(bytes32 jobId, Status expected) internal view {
        assertEq(uint256(market.jobs(jobId).status), uint256(expected), "job status");
    }

    /// @dev What the account is free to use: its balance less what jobs have locked.
    function _assertCredits(address account, uint256 classId, uint256 expected, string memory label) internal view {
        assertEq(credits.availableOf(account, classId), expected, label);
    }

    function _assertLocked(address account, uint256 classId, uint256 expected, string memory label) internal view {
        assertEq(credits.lockedOf(account, classId), expected, label);
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
