// SPDX-License-Identifier: MIT
pragma solidity ^0.8.30;

import {IJobMarket} from "contracts/interfaces/IJobMarket.sol";
import {Attestation, JobTerms, Receipt as JobReceipt, Status} from "contracts/interfaces/Types.sol";
import {Base} from "./Base.t.sol";

/// @dev The provider's signature on a receipt, and calldata that is not what it seems.
contract JobMarketSignaturesTest is Base {
    uint256 private constant CURVE_ORDER = 0xfffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141;
    uint256 private constant TERMS_WORDS = 10;
    /// @dev forge's chain id. Not read from the block, which the optimizer may do after a change.
    uint256 private constant HERE = 31337;
    bytes32 private constant RECEIPT_TYPEHASH = keccak256(
        "Receipt(bytes32 jobId,uint8 outcome,uint128 units,uint64 gpuMillijoules,uint64 inputTokens,uint64 outputTokens,uint40 startedAt,uint40 endedAt,bytes32 outputHash,bytes32 evidenceRoot,uint8 assurance)"
    );

    JobTerms private terms;
    bytes32 private jobId;
    JobReceipt private receipt;

    function setUp() public override {
        super.setUp();
        (terms, jobId) = _runNew(plain, 1_000);
        receipt = _receipt(jobId, 500);
    }

    /* WHO SIGNED */

    function testFuzz_RevertWhen_SignedByAnother(uint256 key) public {
        key = bound(key, 1, CURVE_ORDER - 1);
        vm.assume(key != oracle.key);
        Account memory other = Account(vm.addr(key), key);
        _expectRefused(_sign(other, verifier.receiptDigest(receipt)), other.addr);
    }

    /// @dev The provider's own account is not its oracle.
    function test_RevertWhen_SignedByTheProviderItself() public {
        _expectRefused(_sign(provider, verifier.receiptDigest(receipt)), provider.addr);
    }

    function testFuzz_RevertWhen_ReceiptChangedAfterSigning(uint128 units) public {
        bytes memory signature = _sign(oracle, verifier.receiptDigest(receipt));
        receipt.units = uint128(bound(units, 0, terms.maxUnits));
        vm.assume(receipt.units != 500);
        vm.expectPartialRevert(IJobMarket.JobMarket_BadSignature.selector);
        market.submit(terms, receipt, Attestation(signature, new bytes[](0)));
    }

    function testFuzz_RevertWhen_SignatureHasTheWrongLength(bytes memory signature) public {
        vm.assume(signature.length != 65);
        _expectRefused(signature, address(0));
    }

    function test_RevertWhen_SignatureIsMalleated() public {
        (uint8 v, bytes32 r, bytes32 s) = vm.sign(oracle.key, verifier.receiptDigest(receipt));
        s = bytes32(CURVE_ORDER - uint256(s));
        _expectRefused(abi.encodePacked(r, s, v == 27 ? uint8(28) : uint8(27)), address(0));
    }

    function test_RevertWhen_SignatureIsCompact() public {
        (bytes32 r, bytes32 vs) = vm.signCompact(oracle.key, verifier.receiptDigest(receipt));
        _expectRefused(abi.encodePacked(r, vs), address(0));
    }

    /// @dev A signature for the verifier of another chain is worth nothing here.
    function testFuzz_RevertWhen_SignedForAnotherChain(uint64 chainId) public {
        chainId = uint64(bound(chainId, 1, type(uint64).max - 1));
        vm.assume(chainId != HERE);
        vm.chainId(chainId);
        bytes memory signature = _sign(oracle, verifier.receiptDigest(receipt));
        vm.chainId(HERE);
        vm.expectPartialRevert(IJobMarket.JobMarket_BadSignature.selector);
        market.submit(terms, receipt, Attestation(signature, new bytes[](0)));
    }

    /// @dev A quote is not a receipt, nor the other way round.
    function test_RevertWhen_QuoteIsUsedAsAReceipt() public {
        bytes memory signature = _quote(terms, oracle);
        vm.expectPartialRevert(IJobMarket.JobMarket_BadSignature.selector);
        market.submit(terms, receipt, Attestation(signature, new bytes[](0)));
    }

    /// @dev A new oracle key counts at once; what the old one signed is void, and what the new one signs is taken.
    function testFuzz_OracleKeyReplaced(uint256 seed) public {
        Account memory fresh = makeAccount(vm.toString(seed));
        vm.prank(provider.addr);
        registry.update(fresh.addr, REGION, "");
        bytes32 digest = verifier.receiptDigest(receipt);
        _expect(IJobMarket.JobMarket_BadSignature.selector, uint256(jobId), oracle.addr, fresh.addr);
        market.submit(terms, receipt, _attest(oracle, digest, 0));
        market.submit(terms, receipt, _attest(fresh, digest, 0));
        _assertEnded(terms, Status.Settled);
    }

    /* DIRTY CALLDATA */

    /// @dev Hashes are taken straight from calldata: a word with bits its type doesn't have must never pass.
    function testFuzz_RevertWhen_TermsAreDirty(uint256 field, uint256 dirt) public {
        uint8[6] memory fields = [0, 1, 3, 4, 5, 6];
        uint8[6] memory bits = [160, 160, 128, 32, 40, 40];
        field = bound(field, 0, 5);
        JobTerms memory fresh = _terms(plain, 1);
        _buy(alice.addr, plain, 1);
        bytes memory data = abi.encodeCall(IJobMarket.open, (fresh, ""));
        _soil(data, fields[field], bits[field], dirt);
        vm.prank(alice.addr);
        (bool ok,) = address(market).call(data);
        assertFalse(ok, "open took dirty terms");
    }

    /// @dev Nor does a dirty copy of a job's terms reach the job.
    function testFuzz_RevertWhen_TermsOfAJobAreDirty(uint256 field, uint256 dirt) public {
        uint8[6] memory fields = [0, 1, 3, 4, 5, 6];
        uint8[6] memory bits = [160, 160, 128, 32, 40, 40];
        field = bound(field, 0, 5);
        bytes memory data = abi.encodeCall(IJobMarket.cancel, (terms));
        _soil(data, fields[field], bits[field], dirt);
        vm.prank(provider.addr);
        (bool ok,) = address(market).call(data);
        assertFalse(ok, "cancel took dirty terms");
        _assertStatus(jobId, Status.Running);
    }

    /// @dev Even if the provider signs the dirty words themselves.
    function testFuzz_RevertWhen_ReceiptIsDirtyAndSignedSo(uint256 field, uint256 dirt) public {
        uint8[5] memory fields = [1, 2, 6, 7, 10];
        uint8[5] memory bits = [8, 128, 40, 40, 8];
        field = bound(field, 0, 4);
        bytes memory words = abi.encodePacked(bytes4(0), abi.encode(receipt));
        _soil(words, fields[field], bits[field], dirt);
        bytes32 structHash = keccak256(abi.encodePacked(RECEIPT_TYPEHASH, _tail(words)));
        bytes32 digest = keccak256(abi.encodePacked("\x19\x01", verifier.domainSeparator(), structHash));
        bytes memory data = abi.encodeCall(IJobMarket.submit, (terms, receipt, _attest(digest, 0)));
        _soil(data, TERMS_WORDS + fields[field], bits[field], dirt);
        (bool ok,) = address(market).call(data);
        assertFalse(ok, "submit took a dirty receipt");
        _assertStatus(jobId, Status.Running);
    }

    /* HELPERS */

    function _expectRefused(bytes memory signature, address signer) private {
        _expect(IJobMarket.JobMarket_BadSignature.selector, uint256(jobId), signer, oracle.addr);
        market.submit(terms, receipt, Attestation(signature, new bytes[](0)));
        _assertStatus(jobId, Status.Running);
    }

    /// @dev Sets at least one bit above the low `bits` of a word of calldata.
    function _soil(bytes memory data, uint256 word, uint256 bits, uint256 dirt) private pure {
        dirt = bound(dirt, 1, type(uint256).max >> bits) << bits;
        assembly ("memory-safe") {
            let place := add(data, add(36, mul(word, 32)))
            mstore(place, or(mload(place), dirt))
        }
    }

    /// @dev Without the selector.
    function _tail(bytes memory data) private pure returns (bytes memory tail) {
        tail = new bytes(data.length - 4);
        for (uint256 i; i < tail.length; ++i) {
            tail[i] = data[i + 4];
        }
    }
}
