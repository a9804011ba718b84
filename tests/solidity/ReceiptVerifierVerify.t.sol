// SPDX-License-Identifier: MIT
pragma solidity ^0.8.30;

import {IERC5267} from "@openzeppelin/contracts/interfaces/IERC5267.sol";
import {IReceiptVerifier} from "contracts/interfaces/IReceiptVerifier.sol";
import {Outcome, Receipt as JobReceipt} from "contracts/interfaces/Types.sol";
import {Base} from "./Base.t.sol";

/// @dev verify, and the digests that are signed, checked against ones computed here by EIP-712.
contract ReceiptVerifierVerifyTest is Base {
    uint256 private constant CURVE_ORDER = 0xfffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141;
    bytes32 private constant DOMAIN_TYPEHASH =
        keccak256("EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)");
    bytes32 private constant RECEIPT_TYPEHASH = keccak256(
        "Receipt(bytes32 jobId,uint8 outcome,uint128 units,uint64 gpuMillijoules,uint64 inputTokens,uint64 outputTokens,uint40 startedAt,uint40 endedAt,bytes32 outputHash,bytes32 evidenceRoot,uint8 assurance)"
    );
    bytes32 private constant BATCH_TYPEHASH = keccak256("ReceiptBatch(bytes32[] receipts)");

    /* verify: REVERTS */

    function testFuzz_RevertWhen_SetUnknown(bytes32 digest, uint256 setId) public {
        uint256 count = verifier.setCount();
        if (setId <= count) setId = 0;
        _expect(IReceiptVerifier.ReceiptVerifier_UnknownSet.selector, setId, setId, count);
        verifier.verify(setId, digest, _signed(digest, 3));
    }

    function testFuzz_RevertWhen_SetNotYetActive(bytes32 digest) public {
        vm.prank(admin.addr);
        uint256 id = verifier.proposeSet(0, _addresses(watchers), THRESHOLD);
        _expect(IReceiptVerifier.ReceiptVerifier_UnknownSet.selector, id, id, id);
        verifier.verify(id, digest, _signed(digest, 3));
    }

    function testFuzz_RevertWhen_TooFewWatchers(bytes32 digest, uint256 count) public {
        count = bound(count, 0, THRESHOLD - 1);
        _expect(IReceiptVerifier.ReceiptVerifier_TooFewWatchers.selector, watcherSet, count, THRESHOLD);
        verifier.verify(watcherSet, digest, _signed(digest, count));
    }

    function testFuzz_RevertWhen_WatchersUnsorted(bytes32 digest) public {
        bytes[] memory a = _signed(digest, 2);
        (a[0], a[1]) = (a[1], a[0]);
        _expectUnsorted(watchers[0].addr, watchers[1].addr);
        verifier.verify(watcherSet, digest, a);
    }

    function testFuzz_RevertWhen_WatcherSignsTwice(bytes32 digest) public {
        bytes[] memory a = _signed(digest, 2);
        a[1] = a[0];
        _expectUnsorted(watchers[0].addr, watchers[0].addr);
        verifier.verify(watcherSet, digest, a);
    }

    /// @dev The two forms of one signature don't make two watchers.
    function testFuzz_RevertWhen_WatcherSignatureIsMalleated(bytes32 digest) public {
        bytes[] memory a = _signed(digest, 2);
        a[1] = _malleate(watchers[0], digest);
        _expectUnsorted(address(0), watchers[0].addr);
        verifier.verify(watcherSet, digest, a);
    }

    function testFuzz_RevertWhen_WatcherSignatureIsMalformed(bytes32 digest, bytes memory signature) public {
        vm.assume(signature.length != 65);
        bytes[] memory a = _signed(digest, 2);
        a[0] = signature;
        _expectUnsorted(address(0), address(0));
        verifier.verify(watcherSet, digest, a);
    }

    function testFuzz_RevertWhen_SignerIsNoWatcher(bytes32 digest, uint256 key) public {
        key = bound(key, 1, CURVE_ORDER - 1);
        Account memory other = Account(vm.addr(key), key);
        vm.assume(!verifier.isWatcher(watcherSet, other.addr));
        bytes[] memory a = _signed(digest, 2);
        a[0] = _sign(other, digest);
        _expect(IReceiptVerifier.ReceiptVerifier_NotWatcher.selector, watcherSet, other.addr, address(0));
        verifier.verify(watcherSet, digest, a);
    }

    /// @dev Watchers that were voted out can't sign, not even for receipts of their time.
    function testFuzz_RevertWhen_WatcherIsOut(bytes32 digest) public {
        address[] memory rest = new address[](2);
        (rest[0], rest[1]) = (watchers[1].addr, watchers[2].addr);
        vm.prank(admin.addr);
        verifier.proposeSet(watcherSet, rest, THRESHOLD);
        skip(ACTIVATION_DELAY);
        bytes[] memory a = _signed(digest, 2);
        verifier.verify(watcherSet, digest, a);
        verifier.activateSet(watcherSet, rest, THRESHOLD);
        _expect(IReceiptVerifier.ReceiptVerifier_NotWatcher.selector, watcherSet, watchers[0].addr, address(0));
        verifier.verify(watcherSet, digest, a);
    }

    function testFuzz_Verify_AnyThresholdOfWatchers(bytes32 digest, uint256 left) public view {
        left = bound(left, 0, 2);
        bytes[] memory a = _signed(digest, 3);
        for (uint256 i = left; i < 2; ++i) {
            a[i] = a[i + 1];
        }
        verifier.verify(watcherSet, digest, a);
    }

    /// @dev The first `threshold` signatures decide; what follows is not read.
    function testFuzz_Verify_IgnoresWhatFollowsTheThreshold(bytes32 digest, bytes memory junk) public view {
        bytes[] memory a = _signed(digest, 3);
        a[2] = junk;
        verifier.verify(watcherSet, digest, a);
    }

    /* DIGESTS */

    function testFuzz_ReceiptDigest(uint8 outcome, uint128 units, uint64[3] memory n, uint40[2] memory t, bytes32 h)
        public
        view
    {
        JobReceipt memory r = JobReceipt({
            jobId: keccak256(abi.encode(h)),
            outcome: Outcome(bound(outcome, 0, 2)),
            units: units,
            gpuMillijoules: n[0],
            inputTokens: n[1],
            outputTokens: n[2],
            startedAt: t[0],
            endedAt: t[1],
            outputHash: h,
            evidenceRoot: ~h,
            assurance: uint8(outcome)
        });
        bytes32 hash = keccak256(
            bytes.concat(
                abi.encode(RECEIPT_TYPEHASH, r.jobId, r.outcome, r.units, r.gpuMillijoules, r.inputTokens),
                abi.encode(r.outputTokens, r.startedAt, r.endedAt, r.outputHash, r.evidenceRoot, r.assurance)
            )
        );
        assertEq(verifier.hashReceipt(r), hash, "struct hash");
        assertEq(verifier.receiptDigest(r), _digest(hash), "digest");
    }

    function testFuzz_BatchDigest(bytes32[] memory hashes) public view {
        bytes32 hash = keccak256(abi.encode(BATCH_TYPEHASH, keccak256(abi.encodePacked(hashes))));
        assertEq(verifier.batchDigest(hashes), _digest(hash), "digest");
    }

    function test_Domain() public view {
        (bytes1 fields, string memory name, string memory version, uint256 chainId, address self,,) =
            IERC5267(address(verifier)).eip712Domain();
        assertEq(fields, bytes1(0x0f), "fields");
        assertEq(name, "Scrip ReceiptVerifier", "name");
        assertEq(version, "1", "version");
        assertEq(chainId, block.chainid, "chain");
        assertEq(self, address(verifier), "contract");
        assertEq(verifier.domainSeparator(), _domain(), "separator");
    }

    /* HELPERS */

    function _domain() private view returns (bytes32) {
        return keccak256(
            abi.encode(
                DOMAIN_TYPEHASH, keccak256("Scrip ReceiptVerifier"), keccak256("1"), block.chainid, address(verifier)
            )
        );
    }

    function _digest(bytes32 structHash) private view returns (bytes32) {
        return keccak256(abi.encodePacked("\x19\x01", _domain(), structHash));
    }

    function _signed(bytes32 digest, uint256 count) private view returns (bytes[] memory) {
        return _attest(digest, count).watchers;
    }

    /// @dev The other valid form of a signature: s mirrored at the curve's order.
    function _malleate(Account memory account, bytes32 digest) private pure returns (bytes memory) {
        (uint8 v, bytes32 r, bytes32 s) = vm.sign(account.key, digest);
        return abi.encodePacked(r, bytes32(CURVE_ORDER - uint256(s)), v == 27 ? uint8(28) : uint8(27));
    }

    function _expectUnsorted(address given, address last) private {
        _expect(IReceiptVerifier.ReceiptVerifier_Unsorted.selector, watcherSet, given, last);
    }
}
