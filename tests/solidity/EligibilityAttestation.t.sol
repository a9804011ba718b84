// SPDX-License-Identifier: MIT
pragma solidity ^0.8.30;

import {IAttestationEligibility} from "contracts/interfaces/IAttestationEligibility.sol";
import {IComputeCredits} from "contracts/interfaces/IComputeCredits.sol";
import {ClassTerms} from "contracts/interfaces/Types.sol";
import {Base} from "./Base.t.sol";
import {MockEAS} from "./support/MockEAS.sol";

/// @dev AttestationEligibility, alone and as the rule of a class.
contract EligibilityAttestationTest is Base {
    bytes32 private constant SCHEMA = keccak256("bool verified");

    MockEAS private eas;
    IAttestationEligibility private rule;
    address private attester = makeAddr("attester");

    function setUp() public override {
        super.setUp();
        eas = new MockEAS();
        rule = IAttestationEligibility(
            deployCode("AttestationEligibility.sol:AttestationEligibility", abi.encode(eas, SCHEMA, attester))
        );
    }

    /* REVERTS */

    function test_RevertWhen_AttesterIsZero() public {
        bytes memory code = vm.getCode("AttestationEligibility.sol:AttestationEligibility");
        _expect(IAttestationEligibility.AttestationEligibility_ZeroAttester.selector, bytes32(0), 0, 0);
        _create(bytes.concat(code, abi.encode(eas, SCHEMA, address(0))));
    }

    /// @dev EAS answers for a uid it doesn't know with zeros.
    function testFuzz_RevertWhen_AttestationIsUnknown(bytes32 uid, address account) public {
        _expect(IAttestationEligibility.AttestationEligibility_WrongSchema.selector, uid, 0, uint256(SCHEMA));
        rule.register(account, uid);
    }

    function testFuzz_RevertWhen_SchemaIsAnother(bytes32 schema) public {
        vm.assume(schema != SCHEMA);
        bytes32 uid = _attest(attester, schema, alice.addr, 0);
        _expect(
            IAttestationEligibility.AttestationEligibility_WrongSchema.selector, uid, uint256(schema), uint256(SCHEMA)
        );
        rule.register(alice.addr, uid);
    }

    function testFuzz_RevertWhen_AttesterIsAnother(address other) public {
        vm.assume(other != attester);
        bytes32 uid = _attest(other, SCHEMA, alice.addr, 0);
        _expect(
            IAttestationEligibility.AttestationEligibility_WrongAttester.selector,
            uid,
            _number(other),
            _number(attester)
        );
        rule.register(alice.addr, uid);
    }

    function testFuzz_RevertWhen_RecipientIsAnother(address recipient, address account) public {
        vm.assume(recipient != account);
        bytes32 uid = _attest(attester, SCHEMA, recipient, 0);
        _expect(
            IAttestationEligibility.AttestationEligibility_WrongRecipient.selector,
            uid,
            _number(recipient),
            _number(account)
        );
        rule.register(account, uid);
    }

    function testFuzz_RevertWhen_Revoked(uint40 later) public {
        bytes32 uid = _vouch(alice.addr, 0);
        vm.warp(bound(later, START, START + 365 days));
        _revoke(uid);
        _expect(IAttestationEligibility.AttestationEligibility_Revoked.selector, uid, _now(), 0);
        rule.register(alice.addr, uid);
    }

    function testFuzz_RevertWhen_Expired(uint64 end, uint40 later) public {
        end = uint64(bound(end, START + 1, START + 365 days));
        bytes32 uid = _vouch(alice.addr, end);
        vm.warp(bound(later, end, START + 730 days));
        _expect(IAttestationEligibility.AttestationEligibility_Expired.selector, uid, _now(), end);
        rule.register(alice.addr, uid);
    }

    /// @dev Else anyone could let an account's eligibility end early.
    function testFuzz_RevertWhen_AnotherHoldsAsLong(uint64 first, uint64 second) public {
        first = uint64(bound(first, START + 1, type(uint64).max));
        second = uint64(bound(second, START + 1, first));
        rule.register(alice.addr, _vouch(alice.addr, first));
        bytes32 uid = _vouch(alice.addr, second);
        _expect(IAttestationEligibility.AttestationEligibility_NotLonger.selector, uid, second, first);
        rule.register(alice.addr, uid);
    }

    function testFuzz_RevertWhen_AnotherNeverEnds(uint64 end) public {
        rule.register(alice.addr, _vouch(alice.addr, 0));
        bytes32 uid = _vouch(alice.addr, end == 0 ? 0 : uint64(bound(end, START + 1, type(uint64).max)));
        uint256 given = end == 0 ? type(uint256).max : eas.getAttestation(uid).expirationTime;
        _expect(IAttestationEligibility.AttestationEligibility_NotLonger.selector, uid, given, type(uint256).max);
        rule.register(alice.addr, uid);
    }

    function testFuzz_RevertWhen_HolderLostIt(uint128 units, bool revoked) public {
        uint256 id = _classOfAttested();
        units = uint128(bound(units, 1, MAX_UNITS));
        bytes32 uid = _vouch(alice.addr, uint64(START + 1 days));
        rule.register(alice.addr, uid);
        _buy(alice.addr, id, units);
        if (revoked) _revoke(uid);
        else vm.warp(START + 1 days);
        uint256 cost = reserve.costOf(id, 1);
        _fund(alice.addr, cost);
        _expect(IComputeCredits.ComputeCredits_NotEligible.selector, id, alice.addr, address(rule));
        vm.prank(alice.addr);
        reserve.buy(id, 1, alice.addr, cost);
        // What it holds stays its own to use.
        assertEq(uint256(market.jobs(_open(_terms(id, units))).openedAt), _now(), "opened a job");
    }

    /* SUCCESS */

    function testFuzz_Register(address account, address sender, uint64 end, uint256 classId) public {
        end = end == 0 ? 0 : uint64(bound(end, START + 1, type(uint64).max));
        assertFalse(rule.isEligible(account, classId), "before");
        bytes32 uid = _vouch(account, end);
        vm.expectEmit(address(rule));
        emit IAttestationEligibility.AttestationRegistered(account, uid);
        vm.prank(sender);
        rule.register(account, uid);
        assertTrue(rule.isEligible(account, classId), "registered");
        assertEq(rule.uidOf(account), uid, "uid");
        if (end == 0) return;
        vm.warp(end - 1);
        assertTrue(rule.isEligible(account, classId), "in the last second");
        vm.warp(end);
        assertFalse(rule.isEligible(account, classId), "expired");
    }

    function testFuzz_IsEligible_EndsWithARevocation(address account, uint256 classId) public {
        bytes32 uid = _vouch(account, 0);
        rule.register(account, uid);
        _revoke(uid);
        assertFalse(rule.isEligible(account, classId), "revoked");
        assertEq(rule.uidOf(account), uid, "still known");
    }

    /// @dev One that holds longer, or any when the one before holds no longer.
    function testFuzz_Register_InPlaceOfAnother(uint64 first, uint64 second, bool revoked) public {
        first = uint64(bound(first, START + 1, type(uint64).max - 1));
        second = uint64(bound(second, revoked ? START + 1 : first + 1, type(uint64).max));
        bytes32 old = _vouch(alice.addr, first);
        rule.register(alice.addr, old);
        bytes32 uid = _vouch(alice.addr, second);
        if (revoked) _revoke(old);
        rule.register(alice.addr, uid);
        assertEq(rule.uidOf(alice.addr), uid, "uid");
        vm.warp(second - 1);
        assertTrue(rule.isEligible(alice.addr, plain), "as long as the new one holds");
    }

    function testFuzz_Register_AfterTheFirstExpired(uint64 first) public {
        first = uint64(bound(first, START + 1, START + 365 days));
        rule.register(alice.addr, _vouch(alice.addr, first));
        vm.warp(first);
        bytes32 uid = _vouch(alice.addr, first + 1);
        rule.register(alice.addr, uid);
        assertTrue(rule.isEligible(alice.addr, plain), "again");
    }

    /* HELPERS */

    function _classOfAttested() private returns (uint256) {
        ClassTerms memory terms = _saleTerms();
        terms.eligibility = address(rule);
        return _createClass(terms);
    }

    function _vouch(address recipient, uint64 end) private returns (bytes32) {
        return _attest(attester, SCHEMA, recipient, end);
    }

    function _attest(address by, bytes32 schema, address recipient, uint64 end) private returns (bytes32) {
        vm.prank(by);
        return eas.attest(schema, recipient, end);
    }

    function _revoke(bytes32 uid) private {
        vm.prank(attester);
        eas.revoke(uid);
    }
}
