// SPDX-License-Identifier: MIT
pragma solidity ^0.8.30;

import {IERC1155Errors} from "@openzeppelin/contracts/interfaces/draft-IERC6093.sol";
import {IMeteredSessions} from "contracts/interfaces/IMeteredSessions.sol";
import {ClassTerms, JobTerms, SessionTerms} from "contracts/interfaces/Types.sol";
import {MeteredSessionsBase} from "./MeteredSessionsBase.t.sol";

/// @dev The constructor and openSession by the payer itself.
contract MeteredSessionsOpenTest is MeteredSessionsBase {
    /* CONSTRUCTOR */

    function testFuzz_RevertWhen_DelayIsTooShort(uint256 delay) public {
        delay = bound(delay, 0, 1 hours - 1);
        _expect(IMeteredSessions.MeteredSessions_BadDelay.selector, bytes32(0), delay, 1 hours);
        this.deploy(delay);
    }

    function testFuzz_RevertWhen_DelayIsTooLong(uint256 delay) public {
        delay = bound(delay, 30 days + 1, type(uint256).max);
        _expect(IMeteredSessions.MeteredSessions_BadDelay.selector, bytes32(0), delay, 30 days);
        this.deploy(delay);
    }

    function testFuzz_Constructor(uint256 delay) public {
        _assertDelay(bound(delay, 1 hours, 30 days));
        _assertDelay(1 hours);
        _assertDelay(30 days);
    }

    function _assertDelay(uint256 delay) private {
        (, bytes memory answer) = this.deploy(delay).staticcall(abi.encodeWithSignature("CLOSE_DELAY()"));
        assertEq(abi.decode(answer, (uint256)), delay, "CLOSE_DELAY");
    }

    /* WHO */

    function testFuzz_RevertWhen_CallerIsNotThePayer(address caller) public {
        vm.assume(caller != alice.addr);
        SessionTerms memory terms = _ready();
        _expect(IMeteredSessions.MeteredSessions_NotParty.selector, _id(terms), _number(caller), _number(alice.addr));
        vm.prank(caller);
        sessions.openSession(terms, DEPOSIT);
    }

    /// @dev Not even the payer goes past the budget that the terms name.
    function testFuzz_RevertWhen_TermsNameABudget(uint256 budgetId) public {
        SessionTerms memory terms = _ready();
        terms.budgetId = bound(budgetId, 1, type(uint256).max);
        _expectRefused(terms, DEPOSIT, IMeteredSessions.MeteredSessions_BudgetMismatch.selector, terms.budgetId, 0);
    }

    /* TERMS */

    function test_RevertWhen_UnitsAreZero() public {
        _expectRefused(_ready(), 0, IMeteredSessions.MeteredSessions_ZeroUnits.selector, 0, 1);
    }

    function test_RevertWhen_KeyIsZero() public {
        SessionTerms memory terms = _ready();
        terms.key = address(0);
        _expectRefused(terms, DEPOSIT, IMeteredSessions.MeteredSessions_ZeroKey.selector, 0, 1);
    }

    function testFuzz_RevertWhen_ExpiryIsNotInTheFuture(uint40 expiresAt) public {
        SessionTerms memory terms = _ready();
        terms.expiresAt = uint40(bound(expiresAt, 0, START));
        _expectRefused(terms, DEPOSIT, IMeteredSessions.MeteredSessions_DeadlinePassed.selector, START, terms.expiresAt);
    }

    function testFuzz_RevertWhen_ExpiryIsTooFar(uint40 expiresAt) public {
        SessionTerms memory terms = _ready();
        uint256 latest = START + MAX_LIFETIME;
        terms.expiresAt = uint40(bound(expiresAt, latest + 1, type(uint40).max));
        _expectRefused(terms, DEPOSIT, IMeteredSessions.MeteredSessions_ExpiryTooFar.selector, terms.expiresAt, latest);
    }

    function test_ExpiryAtItsBounds() public {
        SessionTerms memory terms = _ready();
        terms.expiresAt = uint40(START);
        _expectRefused(terms, 1, IMeteredSessions.MeteredSessions_DeadlinePassed.selector, START, START);
        terms.expiresAt = uint40(START + 1);
        _assertOpen(_openSession(terms, 1), 1, 0);
        terms.expiresAt = uint40(START + MAX_LIFETIME);
        _assertOpen(_openSession(terms, 1), 1, 0);
    }

    function testFuzz_RevertWhen_UnitsAreMoreThanCanExist(uint256 units) public {
        units = bound(units, uint256(type(uint96).max) + 1, type(uint256).max);
        _expectRefused(_ready(), units, IMeteredSessions.MeteredSessions_OverDeposit.selector, units, type(uint96).max);
    }

    /* PROVIDER */

    function testFuzz_RevertWhen_ProviderIsNotRegistered(address stranger) public {
        _assumeStranger(stranger);
        SessionTerms memory terms = _ready();
        terms.provider = stranger;
        _expectCannotServe(terms);
    }

    function test_RevertWhen_ProviderDoesNotServeTheSku() public {
        SessionTerms memory terms = _ready();
        vm.prank(provider.addr);
        registry.setSkus(_one(SKU), false);
        _expectCannotServe(terms);
    }

    function test_RevertWhen_ProviderIsElsewhere() public {
        SessionTerms memory terms = _sessionTerms(0);
        terms.classId = _regional("us-east-1");
        _buy(alice.addr, terms.classId, DEPOSIT);
        _expectCannotServe(terms);
    }

    function test_RevertWhen_ClassDoesNotListTheProvider() public {
        SessionTerms memory terms = _sessionTerms(_createClass(_saleTerms(), _one(bob.addr)));
        _buy(alice.addr, terms.classId, DEPOSIT);
        _expectCannotServe(terms);
    }

    /* ONCE */

    function testFuzz_RevertWhen_OpenedAgain(uint96 units) public {
        (SessionTerms memory terms,) = _startNew(plain, DEPOSIT);
        units = uint96(bound(units, 1, DEPOSIT));
        _buy(alice.addr, plain, units);
        _expectRefused(terms, units, IMeteredSessions.MeteredSessions_AlreadyOpened.selector, OPEN, NONE);
    }

    function test_RevertWhen_OpenedAgainWhileClosing() public {
        (SessionTerms memory terms,) = _startNew(plain, DEPOSIT);
        _requestClose(terms);
        _buy(alice.addr, plain, DEPOSIT);
        _expectRefused(terms, DEPOSIT, IMeteredSessions.MeteredSessions_AlreadyOpened.selector, OPEN, NONE);
    }

    /// @dev Nothing of a closed session is forgotten, so its old vouchers can't come back to life.
    function testFuzz_RevertWhen_OpenedAgainAfterClosing(uint96 claimed) public {
        (SessionTerms memory terms,) = _startNew(plain, DEPOSIT);
        claimed = uint96(bound(claimed, 1, DEPOSIT));
        _claim(terms, claimed);
        _closeByProvider(terms);
        _buy(alice.addr, plain, DEPOSIT);
        _expectRefused(terms, DEPOSIT, IMeteredSessions.MeteredSessions_AlreadyOpened.selector, CLOSED, NONE);
    }

    /* CREDITS */

    function testFuzz_RevertWhen_PayerHasTooLittle(uint96 owned, uint96 units) public {
        owned = uint96(bound(owned, 1, MAX_UNITS));
        units = uint96(bound(units, uint256(owned) + 1, type(uint96).max));
        SessionTerms memory terms = _sessionTerms(plain);
        _buy(alice.addr, plain, owned);
        _expectInsufficient(terms, owned, units);
    }

    /// @dev What jobs have locked isn't free to deposit.
    function testFuzz_RevertWhen_UnitsAreLockedInAJob(uint96 locked) public {
        locked = uint96(bound(locked, 1, DEPOSIT));
        SessionTerms memory terms = _ready();
        JobTerms memory job = _terms(plain, locked);
        _open(job);
        _expectInsufficient(terms, DEPOSIT - locked, DEPOSIT);
    }

    function testFuzz_RevertWhen_TermsAreDirty(uint256 field, uint256 dirt) public {
        uint8[4] memory fields = [0, 1, 3, 4];
        uint8[4] memory bits = [160, 160, 160, 40];
        field = bound(field, 0, 3);
        bytes memory data = abi.encodeCall(IMeteredSessions.openSession, (_ready(), DEPOSIT));
        _soil(data, fields[field], bits[field], dirt);
        vm.prank(alice.addr);
        (bool ok,) = address(sessions).call(data);
        assertFalse(ok, "opened by dirty terms");
    }

    /* OPENED */

    function testFuzz_OpenSession(uint96 owned, uint96 units, uint40 expiresAt, uint256 salt, address sessionKey)
        public
    {
        vm.assume(sessionKey != address(0));
        owned = uint96(bound(owned, 1, MAX_UNITS));
        units = uint96(bound(units, 1, owned));
        SessionTerms memory terms = _sessionTerms(plain);
        (terms.key, terms.salt) = (sessionKey, salt);
        terms.expiresAt = uint40(bound(expiresAt, START + 1, START + MAX_LIFETIME));
        _buy(alice.addr, plain, owned);
        bytes32 id = _id(terms);
        vm.expectEmit(address(sessions));
        emit IMeteredSessions.SessionOpened(
            id, alice.addr, provider.addr, plain, units, sessionKey, terms.expiresAt, 0, salt
        );
        assertEq(_openSession(terms, units), id, "session id");
        _assertOpen(id, units, 0);
        assertEq(sessions.chargeOf(id), 0, "charge without a budget");
        _assertHeld(plain, units);
        _assertCredits(alice.addr, plain, owned - units, "left to the payer");
        assertEq(credits.totalSupply(plain), owned, "supply");
    }

    /// @dev Two sessions that differ in anything at all are two sessions.
    function testFuzz_OpenSession_SidesBySide(uint96 first, uint96 second) public {
        first = uint96(bound(first, 1, MAX_UNITS));
        second = uint96(bound(second, 1, MAX_UNITS));
        (, bytes32 a) = _startNew(plain, first);
        (, bytes32 b) = _startNew(plain, second);
        assertNotEq(a, b, "ids");
        _assertOpen(a, first, 0);
        _assertOpen(b, second, 0);
        _assertHeld(plain, uint256(first) + second);
    }

    /* DIGESTS */

    function testFuzz_HashTerms(SessionTerms memory terms, uint64 chainId) public {
        chainId = uint64(bound(chainId, 1, type(uint64).max - 1));
        vm.chainId(chainId);
        bytes32 structHash = keccak256(abi.encode(TERMS_TYPEHASH, terms));
        assertEq(sessions.hashTerms(terms), _typed(address(sessions), chainId, structHash), "terms");
    }

    function testFuzz_VoucherDigest(bytes32 id, uint256 units) public view {
        assertEq(sessions.voucherDigest(id, units), _voucherDigest(id, units), "voucher");
    }

    /* HELPERS */

    /// @dev As `deployCode`, but with the constructor's own error.
    function deploy(uint256 delay) external returns (address) {
        return _create(abi.encodePacked(vm.getCode("MeteredSessions.sol:MeteredSessions"), abi.encode(system, delay)));
    }

    /// @dev Terms alice can open with `DEPOSIT`.
    function _ready() private returns (SessionTerms memory terms) {
        terms = _sessionTerms(plain);
        _buy(alice.addr, plain, DEPOSIT);
    }

    function _regional(bytes12 region) private returns (uint256) {
        ClassTerms memory terms = _saleTerms();
        terms.region = region;
        return _createClass(terms);
    }

    function _expectRefused(SessionTerms memory terms, uint256 units, bytes4 reason, uint256 given, uint256 limit)
        private
    {
        _expect(reason, _id(terms), given, limit);
        _openSession(terms, units);
    }

    function _expectCannotServe(SessionTerms memory terms) private {
        _expectRefused(
            terms,
            DEPOSIT,
            IMeteredSessions.MeteredSessions_CannotServe.selector,
            _number(terms.provider),
            terms.classId
        );
    }

    function _expectInsufficient(SessionTerms memory terms, uint256 available, uint256 units) private {
        vm.expectRevert(
            abi.encodeWithSelector(
                IERC1155Errors.ERC1155InsufficientBalance.selector, alice.addr, available, units, plain
            )
        );
        _openSession(terms, units);
    }
}
