// SPDX-License-Identifier: MIT
pragma solidity ^0.8.30;

import {IJobMarket} from "contracts/interfaces/IJobMarket.sol";
import {JobTerms, Status} from "contracts/interfaces/Types.sol";
import {Base} from "./Base.t.sol";
import {ContractWallet} from "./support/Wallets.sol";

/// @dev openBySig: a relayer opens a job that its payer signed.
contract JobMarketOpenBySigTest is Base {
    /* REVERTS */

    function testFuzz_RevertWhen_SignedByAnother(uint256 seed) public {
        JobTerms memory terms = _ready(1);
        bytes memory signature = _sign(makeAccount(vm.toString(seed)), market.hashTerms(terms));
        _expectBadSignature(terms, signature);
    }

    function testFuzz_RevertWhen_SignatureIsMalformed(bytes memory signature) public {
        vm.assume(signature.length != 65);
        _expectBadSignature(_ready(1), signature);
    }

    /// @dev What a relayer changes makes it another job, which nobody signed.
    function testFuzz_RevertWhen_RelayerChangesTheTerms(uint256 field, uint256 seed) public {
        JobTerms memory terms = _ready(1_000);
        bytes memory signature = _sign(alice, market.hashTerms(terms));
        _alter(terms, bound(field, 0, 8), seed);
        // With a budget its spender has to agree instead, and nobody's budget has one.
        _expectBadSignature(terms, signature, terms.budgetId == 0 ? terms.payer : address(0));
    }

    function testFuzz_RevertWhen_PayerIsSomebodyElse(address payer) public {
        _assumeStranger(payer);
        JobTerms memory terms = _ready(1);
        bytes memory signature = _sign(alice, market.hashTerms(terms));
        terms.payer = payer;
        _expectBadSignature(terms, signature);
    }

    /// @dev No signature stands for nobody, and the market itself can't be made to pay.
    function testFuzz_RevertWhen_PayerIsNobodyOrTheMarket(bytes32 r, bytes32 s, uint8 v) public {
        JobTerms memory terms = _ready(1);
        terms.payer = address(0);
        _expectBadSignature(terms, abi.encodePacked(r, s, v));
        terms.payer = address(market);
        _expectBadSignature(terms, abi.encodePacked(r, s, v));
    }

    function testFuzz_RevertWhen_SignedForAnotherChain(uint64 chainId) public {
        chainId = uint64(bound(chainId, 1, type(uint64).max - 1));
        vm.assume(chainId != block.chainid);
        JobTerms memory terms = _ready(1);
        bytes memory signature = _sign(alice, market.hashTerms(terms));
        vm.chainId(chainId);
        _expectBadSignature(terms, signature);
    }

    function test_RevertWhen_SignatureUsedTwice() public {
        JobTerms memory terms = _ready(1);
        bytes32 jobId = market.hashTerms(terms);
        bytes memory signature = _sign(alice, jobId);
        _openBySig(terms, signature, "");
        vm.prank(alice.addr);
        market.cancel(terms);
        _expect(IJobMarket.JobMarket_WrongStatus.selector, jobId, uint256(Status.Cancelled), uint256(Status.None));
        _openBySig(terms, signature, "");
    }

    function test_RevertWhen_WalletDidNotApprove() public {
        ContractWallet wallet = new ContractWallet();
        JobTerms memory terms = _ready(1);
        terms.payer = address(wallet);
        _expectBadSignature(terms, "any");
    }

    /// @dev An owner's key is not the wallet: only the wallet's own answer counts.
    function test_RevertWhen_WalletHasNoAnswer() public {
        JobTerms memory terms = _ready(1);
        terms.payer = address(registry);
        _expectBadSignature(terms, _sign(alice, market.hashTerms(terms)));
    }

    function testFuzz_RevertWhen_QuoteSignedByAnother(uint256 seed) public {
        JobTerms memory terms = _ready(1);
        bytes32 jobId = market.hashTerms(terms);
        Account memory other = makeAccount(vm.toString(seed));
        bytes memory quote = _quote(terms, other);
        bytes memory signature = _sign(alice, jobId);
        _expect(IJobMarket.JobMarket_BadSignature.selector, jobId, _number(other.addr), _number(oracle.addr));
        _openBySig(terms, signature, quote);
    }

    /* SUCCESS */

    function testFuzz_OpenBySig(uint128 units, address relayer) public {
        JobTerms memory terms = _ready(bound(units, 1, MAX_UNITS));
        bytes32 jobId = market.hashTerms(terms);
        bytes memory signature = _sign(alice, jobId);
        vm.prank(relayer);
        assertEq(market.openBySig(terms, signature, ""), jobId, "job id");
        _assertStatus(jobId, Status.Open);
        _assertLocked(alice.addr, plain, terms.maxUnits, "locked");
        _assertCredits(alice.addr, plain, 0, "payer");
    }

    function testFuzz_OpenBySig_WithAQuoteRuns(uint128 units) public {
        JobTerms memory terms = _ready(bound(units, 1, MAX_UNITS));
        bytes32 jobId = market.hashTerms(terms);
        bytes memory quote = _quote(terms, oracle);
        _openBySig(terms, _sign(alice, jobId), quote);
        _assertStatus(jobId, Status.Running);
    }

    function testFuzz_OpenBySig_OfAContractWallet(uint128 units, bytes memory signature) public {
        ContractWallet wallet = new ContractWallet();
        JobTerms memory terms = _terms(plain, bound(units, 1, MAX_UNITS));
        terms.payer = address(wallet);
        _buy(address(wallet), plain, terms.maxUnits);
        wallet.approve(market.hashTerms(terms));
        _openBySig(terms, signature, _quote(terms, oracle));
        bytes32 jobId = market.hashTerms(terms);
        _assertStatus(jobId, Status.Running);
        _submit(terms, _failed(jobId));
        _assertCredits(address(wallet), plain, terms.maxUnits, "the wallet gets its refund");
    }

    /* HELPERS */

    function _ready(uint256 units) private returns (JobTerms memory) {
        _buy(alice.addr, plain, units);
        return _terms(plain, units);
    }

    function _openBySig(JobTerms memory terms, bytes memory signature, bytes memory quote) private {
        vm.prank(anyone);
        market.openBySig(terms, signature, quote);
    }

    function _expectBadSignature(JobTerms memory terms, bytes memory signature) private {
        _expectBadSignature(terms, signature, terms.payer);
    }

    function _expectBadSignature(JobTerms memory terms, bytes memory signature, address needed) private {
        _expect(IJobMarket.JobMarket_BadSignature.selector, market.hashTerms(terms), signature.length, _number(needed));
        _openBySig(terms, signature, "");
    }

    /// @dev Changes one field of the terms, whatever the seed.
    function _alter(JobTerms memory t, uint256 field, uint256 seed) private pure {
        unchecked {
            uint256 by = bound(seed, 1, 1_000);
            if (field == 0) t.provider = address(uint160(t.provider) + uint160(by));
            if (field == 1) t.classId += by;
            if (field == 2) t.maxUnits += uint128(by);
            if (field == 3) t.resources += uint32(by);
            if (field == 4) t.acceptBy += uint40(by);
            if (field == 5) t.submitBy += uint40(by);
            if (field == 6) t.specHash = keccak256(abi.encode(t.specHash, seed));
            if (field == 7) t.budgetId += by;
            if (field == 8) t.salt += by;
        }
    }
}
