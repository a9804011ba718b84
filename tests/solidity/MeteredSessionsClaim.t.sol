// SPDX-License-Identifier: MIT
pragma solidity ^0.8.30;

import {ICreditReserve} from "contracts/interfaces/ICreditReserve.sol";
import {IMeteredSessions} from "contracts/interfaces/IMeteredSessions.sol";
import {SessionTerms} from "contracts/interfaces/Types.sol";
import {MeteredSessionsBase} from "./MeteredSessionsBase.t.sol";

/// @dev claim, by vouchers of a key that is an account.
contract MeteredSessionsClaimTest is MeteredSessionsBase {
    SessionTerms private terms;
    bytes32 private id;

    function setUp() public override {
        super.setUp();
        (terms, id) = _startNew(plain, DEPOSIT);
    }

    /* STATUS */

    function testFuzz_RevertWhen_NeverOpened(uint256 units) public {
        SessionTerms memory other = _sessionTerms(plain);
        _expectRefused(other, _units(units), IMeteredSessions.MeteredSessions_NotOpen.selector, NONE, OPEN);
    }

    function testFuzz_RevertWhen_Closed(uint256 units) public {
        _closeByProvider(terms);
        _expectRefused(terms, _units(units), IMeteredSessions.MeteredSessions_NotOpen.selector, CLOSED, OPEN);
    }

    /* WHO */

    /// @dev Neither strangers nor the parties who authorise: what was used is the provider's word.
    function testFuzz_RevertWhen_CallerIsNotTheProvider(address caller, uint256 units) public {
        vm.assume(caller != provider.addr && caller != oracle.addr);
        IMeteredSessions.Claim memory row = _row(terms, _units(units), DEPOSIT);
        address[4] memory callers = [caller, alice.addr, key.addr, anyone];
        for (uint256 i; i < callers.length; ++i) {
            _expect(IMeteredSessions.MeteredSessions_NotParty.selector, id, _number(callers[i]), _number(provider.addr));
            vm.prank(callers[i]);
            sessions.claim(row);
        }
        _assertOpen(id, DEPOSIT, 0);
    }

    /// @dev The rest of a voucher is in the open once some of it was claimed.
    function testFuzz_RevertWhen_AStrangerTakesTheRestOfAVoucher(uint256 units) public {
        units = bound(units, 1, DEPOSIT - 1);
        _claim(_row(terms, units, DEPOSIT));
        IMeteredSessions.Claim memory row = _row(terms, DEPOSIT, DEPOSIT);
        _expect(IMeteredSessions.MeteredSessions_NotParty.selector, id, _number(anyone), _number(provider.addr));
        vm.prank(anyone);
        sessions.claim(row);
        _assertOpen(id, DEPOSIT, units);
    }

    /// @dev A key that the provider replaced claims nothing more.
    function test_RevertWhen_CallerIsTheOldOracle() public {
        vm.prank(provider.addr);
        registry.update(bob.addr, "", "");
        IMeteredSessions.Claim memory row = _row(terms, DEPOSIT);
        _expect(IMeteredSessions.MeteredSessions_NotParty.selector, id, _number(oracle.addr), _number(provider.addr));
        vm.prank(oracle.addr);
        sessions.claim(row);
        vm.prank(bob.addr);
        assertEq(sessions.claim(row), DEPOSIT, "units paid");
    }

    /* UNITS */

    function test_RevertWhen_UnitsAreZero() public {
        _expectRefused(terms, 0, IMeteredSessions.MeteredSessions_NothingNew.selector, 0, 0);
    }

    function testFuzz_RevertWhen_VoucherIsReplayed(uint256 units) public {
        units = _units(units);
        _claim(terms, units);
        _expectRefused(terms, units, IMeteredSessions.MeteredSessions_NothingNew.selector, units, units);
    }

    function testFuzz_RevertWhen_VoucherIsOlder(uint256 units, uint256 older) public {
        units = _units(units);
        older = bound(older, 0, units);
        _claim(terms, units);
        _expectRefused(terms, older, IMeteredSessions.MeteredSessions_NothingNew.selector, older, units);
    }

    function testFuzz_RevertWhen_VoucherExceedsTheDeposit(uint128 units, uint256 claimed) public {
        units = uint128(bound(units, DEPOSIT + 1, type(uint128).max));
        claimed = bound(claimed, 0, DEPOSIT);
        if (claimed != 0) _claim(terms, claimed);
        _expectRefused(terms, units, IMeteredSessions.MeteredSessions_OverDeposit.selector, units, DEPOSIT);
        _assertOpen(id, DEPOSIT, claimed);
    }

    function testFuzz_RevertWhen_UnitsExceedTheVoucher(uint256 units, uint256 authorised, uint256 claimed) public {
        units = bound(units, 2, DEPOSIT);
        authorised = bound(authorised, 0, units - 1);
        claimed = bound(claimed, 0, units - 1);
        if (claimed != 0) _claim(terms, claimed);
        _expect(IMeteredSessions.MeteredSessions_OverVoucher.selector, id, units, authorised);
        _claim(_row(terms, units, authorised));
        _assertOpen(id, DEPOSIT, claimed);
    }

    /// @dev A signature over what is taken says nothing of what is authorised.
    function testFuzz_RevertWhen_SignedForTheUnitsInstead(uint256 units, uint256 authorised) public {
        units = bound(units, 1, DEPOSIT - 1);
        authorised = bound(authorised, units + 1, type(uint128).max);
        bytes memory signature = _voucher(key, id, units);
        address signer = _recover(_voucherDigest(id, authorised), signature);
        _expect(IMeteredSessions.MeteredSessions_BadSignature.selector, id, _number(signer), _number(key.addr));
        // forge-lint: disable-next-line(unsafe-typecast)
        _claim(IMeteredSessions.Claim(terms, uint128(units), uint128(authorised), signature));
        _assertOpen(id, DEPOSIT, 0);
    }

    /* SIGNATURES */

    function testFuzz_RevertWhen_SignedByAnother(uint256 signerKey) public {
        signerKey = bound(signerKey, 1, CURVE_ORDER - 1);
        vm.assume(signerKey != key.key);
        Account memory other = Account(vm.addr(signerKey), signerKey);
        _expectBadSignature(_voucher(other, id, DEPOSIT), other.addr);
    }

    /// @dev Parties to the session are not its key.
    function test_RevertWhen_SignedByAParty() public {
        _expectBadSignature(_voucher(alice, id, DEPOSIT), alice.addr);
        _expectBadSignature(_voucher(provider, id, DEPOSIT), provider.addr);
        _expectBadSignature(_voucher(oracle, id, DEPOSIT), oracle.addr);
    }

    function testFuzz_RevertWhen_SignatureHasTheWrongLength(bytes memory signature) public {
        vm.assume(signature.length != 65);
        _expectBadSignature(signature, address(0));
    }

    function test_RevertWhen_SignatureIsMalleated() public {
        (uint8 v, bytes32 r, bytes32 s) = vm.sign(key.key, _voucherDigest(id, DEPOSIT));
        s = bytes32(CURVE_ORDER - uint256(s));
        _expectBadSignature(abi.encodePacked(r, s, v == 27 ? uint8(28) : uint8(27)), address(0));
    }

    function testFuzz_RevertWhen_UnitsAreChangedAfterSigning(uint256 signed, uint256 claimed) public {
        (signed, claimed) = (_units(signed), _units(claimed));
        vm.assume(signed != claimed);
        _expectNotSigned(terms, claimed, _voucher(key, id, signed));
    }

    /// @dev The same key may serve many sessions; a voucher names one.
    function testFuzz_RevertWhen_VoucherIsOfAnotherSession(uint256 units) public {
        units = _units(units);
        (, bytes32 otherId) = _startNew(plain, DEPOSIT);
        _expectNotSigned(terms, units, _voucher(key, otherId, units));
        _assertOpen(otherId, DEPOSIT, 0);
    }

    function testFuzz_RevertWhen_VoucherIsOfAnotherChain(uint256 units, uint64 chainId) public {
        units = _units(units);
        chainId = uint64(bound(chainId, 1, type(uint64).max - 1));
        vm.assume(chainId != HERE);
        bytes32 structHash = keccak256(abi.encode(VOUCHER_TYPEHASH, id, units));
        _expectNotSigned(terms, units, _sign(key, _typed(address(sessions), chainId, structHash)));
    }

    /// @dev On a chain that splits, neither sessions nor vouchers of before are good on the side with a new id.
    function testFuzz_RevertWhen_TheChainChangesItsId(uint64 chainId) public {
        chainId = uint64(bound(chainId, 1, type(uint64).max - 1));
        vm.assume(chainId != HERE);
        IMeteredSessions.Claim memory row = _row(terms, DEPOSIT);
        vm.chainId(chainId);
        bytes32 elsewhere = sessions.hashTerms(terms);
        _expect(IMeteredSessions.MeteredSessions_NotOpen.selector, elsewhere, NONE, OPEN);
        _claim(row);
    }

    function testFuzz_RevertWhen_VoucherIsOfAnotherContract(uint256 units, address other) public {
        units = _units(units);
        vm.assume(other != address(sessions));
        bytes32 structHash = keccak256(abi.encode(VOUCHER_TYPEHASH, id, units));
        _expectNotSigned(terms, units, _sign(key, _typed(other, HERE, structHash)));
    }

    /// @dev Consent to open, by a payer that is its own session key, is no voucher.
    function test_RevertWhen_SignatureIsTheConsentToOpen() public {
        terms.key = alice.addr;
        id = _start(terms, DEPOSIT);
        _expectNotSigned(terms, DEPOSIT, _sign(alice, _openDigest(id, DEPOSIT, START)));
    }

    function testFuzz_RevertWhen_TermsAreChanged(uint256 field, uint256 seed) public {
        SessionTerms memory other = terms;
        field = bound(field, 0, 6);
        // forge-lint: disable-start(unsafe-typecast)
        if (field == 0) other.payer = address(uint160(seed));
        if (field == 1) other.provider = address(uint160(seed));
        if (field == 2) other.classId = seed;
        if (field == 3) other.key = address(uint160(seed));
        if (field == 4) other.expiresAt = uint40(seed);
        if (field == 5) other.budgetId = seed;
        if (field == 6) other.salt = seed;
        // forge-lint: disable-end(unsafe-typecast)
        vm.assume(_id(other) != id);
        _expectRefused(other, DEPOSIT, IMeteredSessions.MeteredSessions_NotOpen.selector, NONE, OPEN);
    }

    function testFuzz_RevertWhen_TermsAreDirty(uint256 field, uint256 dirt) public {
        uint8[4] memory fields = [0, 1, 3, 4];
        uint8[4] memory bits = [160, 160, 160, 40];
        field = bound(field, 0, 3);
        bytes memory data = abi.encodeCall(IMeteredSessions.claim, (_row(terms, DEPOSIT)));
        // The first word says where the row begins.
        _soil(data, 1 + fields[field], bits[field], dirt);
        vm.prank(provider.addr);
        (bool ok,) = address(sessions).call(data);
        assertFalse(ok, "claimed by dirty terms");
        _assertOpen(id, DEPOSIT, 0);
    }

    /* CLAIMED */

    /// @dev Sent by the provider, or by its oracle key.
    function testFuzz_Claim(uint256 units, bool byOracle) public {
        units = _units(units);
        uint256 worth = _worth(plain, units);
        IMeteredSessions.Claim memory row = _row(terms, units);
        vm.expectEmit(address(sessions));
        emit IMeteredSessions.SessionClaimed(id, provider.addr, units);
        vm.expectEmit(address(reserve));
        emit ICreditReserve.PaidOut(plain, provider.addr, units, worth);
        vm.prank(byOracle ? oracle.addr : provider.addr);
        assertEq(sessions.claim(row), units, "units paid");
        _assertOpen(id, DEPOSIT, units);
        _assertHeld(plain, DEPOSIT - units);
        assertEq(credits.totalSupply(plain), DEPOSIT - units, "supply");
        assertEq(_earned(), worth, "earned");
        _assertCredits(alice.addr, plain, 0, "the payer's credits");
    }

    /// @dev Each voucher pays what it adds to the one before, however the total is cut.
    function testFuzz_Claim_Cumulative(uint256 first, uint256 second, uint256 third) public {
        third = bound(third, 3, DEPOSIT);
        second = bound(second, 2, third - 1);
        first = bound(first, 1, second - 1);
        assertEq(_claim(terms, first), first, "first");
        assertEq(_claim(terms, second), second - first, "second");
        vm.expectEmit(address(sessions));
        emit IMeteredSessions.SessionClaimed(id, provider.addr, third - second);
        assertEq(_claim(terms, third), third - second, "third");
        _assertOpen(id, DEPOSIT, third);
        _assertHeld(plain, DEPOSIT - third);
        assertEq(credits.totalSupply(plain), DEPOSIT - third, "supply");
    }

    /// @dev What was used of a voucher, not what it authorises: that may be over the deposit, and serve many claims.
    function testFuzz_Claim_LessThanAuthorised(uint256 first, uint256 second, uint256 authorised) public {
        second = bound(second, 2, DEPOSIT);
        first = bound(first, 1, second - 1);
        authorised = bound(authorised, second, type(uint128).max);
        assertEq(_claim(_row(terms, first, authorised)), first, "first");
        assertEq(_claim(_row(terms, second, authorised)), second - first, "second");
        _assertOpen(id, DEPOSIT, second);
        _assertHeld(plain, DEPOSIT - second);
        assertEq(credits.totalSupply(plain), DEPOSIT - second, "supply");
    }

    /// @dev Vouchers between two claims are never sent: the newest stands for all.
    function testFuzz_Claim_OnlyTheNewest(uint256 units) public {
        units = _units(units);
        assertEq(_claim(terms, units), units, "units paid");
        _assertOpen(id, DEPOSIT, units);
    }

    /// @dev Vouchers don't wear out: neither the session's expiry nor a provider's leaving ends them.
    function testFuzz_Claim_AfterExpiry(uint256 units, uint40 late) public {
        units = _units(units);
        vm.warp(bound(late, uint256(terms.expiresAt) + 1, type(uint40).max - 30 days));
        vm.prank(provider.addr);
        registry.setSkus(_one(SKU), false);
        assertEq(_claim(terms, units), units, "units paid");
        _assertOpen(id, DEPOSIT, units);
    }

    function testFuzz_Claim_WhileClosing(uint256 units, uint256 wait) public {
        units = _units(units);
        uint256 closeAt = _requestClose(terms);
        vm.warp(bound(wait, START, type(uint40).max));
        assertEq(_claim(terms, units), units, "units paid");
        _assertSession(id, DEPOSIT, units, closeAt, false);
        vm.warp(closeAt);
        sessions.close(terms);
        _assertCredits(alice.addr, plain, DEPOSIT - units, "what was not claimed");
        assertEq(_earned(), _price(DEPOSIT) * units / DEPOSIT, "earned");
    }

    /// @dev A voucher beyond the deposit is not lost: it waits for a top-up.
    function testFuzz_Claim_AfterATopUp(uint256 added, uint256 units) public {
        added = bound(added, 1, MAX_UNITS);
        units = bound(units, DEPOSIT + 1, DEPOSIT + added);
        _expectRefused(terms, units, IMeteredSessions.MeteredSessions_OverDeposit.selector, units, DEPOSIT);
        _buy(alice.addr, plain, added);
        vm.prank(alice.addr);
        sessions.topUp(terms, added);
        assertEq(_claim(terms, units), units, "units paid");
        _assertOpen(id, DEPOSIT + added, units);
    }

    /// @dev One session can't reach into the deposit of another.
    function testFuzz_Claim_LeavesOthersAlone(uint256 units) public {
        units = _units(units);
        (SessionTerms memory other, bytes32 otherId) = _startNew(plain, DEPOSIT);
        _claim(terms, units);
        _assertOpen(otherId, DEPOSIT, 0);
        _claim(other, DEPOSIT);
        _assertHeld(plain, DEPOSIT - units);
    }

    /* HELPERS */

    function _units(uint256 units) private pure returns (uint256) {
        return bound(units, 1, DEPOSIT);
    }

    function _expectRefused(SessionTerms memory given_, uint256 units, bytes4 reason, uint256 given, uint256 limit)
        private
    {
        IMeteredSessions.Claim memory row = _row(given_, units);
        _expect(reason, _id(given_), given, limit);
        _claim(row);
    }

    function _expectBadSignature(bytes memory signature, address signer) private {
        _expect(IMeteredSessions.MeteredSessions_BadSignature.selector, id, _number(signer), _number(key.addr));
        _claim(_row(terms, DEPOSIT, signature));
        _assertOpen(id, DEPOSIT, 0);
    }

    /// @dev Signed by the key, but for something else: the signer found is nobody in particular.
    function _expectNotSigned(SessionTerms memory given, uint256 units, bytes memory signature) private {
        (address signer) = _recover(_voucherDigest(id, units), signature);
        assertNotEq(signer, given.key, "recovered");
        _expect(IMeteredSessions.MeteredSessions_BadSignature.selector, id, _number(signer), _number(given.key));
        _claim(_row(given, units, signature));
        _assertOpen(id, DEPOSIT, 0);
    }

    function _recover(bytes32 digest, bytes memory signature) private pure returns (address) {
        bytes32 r;
        bytes32 s;
        uint8 v;
        assembly ("memory-safe") {
            r := mload(add(signature, 32))
            s := mload(add(signature, 64))
            v := byte(0, mload(add(signature, 96)))
        }
        return ecrecover(digest, v, r, s);
    }
}
