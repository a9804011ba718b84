// SPDX-License-Identifier: MIT
pragma solidity ^0.8.30;

import {IERC1271} from "@openzeppelin/contracts/interfaces/IERC1271.sol";
import {IMeteredSessions} from "contracts/interfaces/IMeteredSessions.sol";
import {SessionTerms} from "contracts/interfaces/Types.sol";
import {MeteredSessionsBase} from "./MeteredSessionsBase.t.sol";
import {AnsweringKey, BurningKey, BusyKey, FloodingKey, RevertingKey} from "./support/SessionKeys.sol";
import {ContractWallet} from "./support/Wallets.sol";

/// @dev Session keys with code: ERC-1271 contracts, honest and hostile, and accounts that delegate (EIP-7702).
contract MeteredSessionsKeysTest is MeteredSessionsBase {
    /// @dev More than a claim needs besides what its key may use.
    uint256 private constant CLAIM_GAS = 200_000;

    /* REFUSED */

    function testFuzz_RevertWhen_KeyDisagrees(bytes memory signature) public {
        vm.assume(signature.length != 65);
        _expectRefused(address(new ContractWallet()), signature);
    }

    function testFuzz_RevertWhen_KeyAgreedToOtherUnits(uint256 agreed, uint256 units) public {
        (agreed, units) = (bound(agreed, 1, DEPOSIT), bound(units, 1, DEPOSIT));
        vm.assume(agreed != units);
        ContractWallet wallet = new ContractWallet();
        (SessionTerms memory terms, bytes32 id) = _startWithKey(address(wallet));
        wallet.approve(_voucherDigest(id, agreed));
        _expect(IMeteredSessions.MeteredSessions_BadSignature.selector, id, 0, _number(address(wallet)));
        _claim(_row(terms, units, ""));
    }

    function test_RevertWhen_KeyReverts() public {
        _expectRefused(address(new RevertingKey()), "");
    }

    /// @dev And costs no more than it may use.
    function test_RevertWhen_KeyBurnsItsGas() public {
        uint256 before = gasleft();
        _expectRefused(address(new BurningKey()), "");
        assertLt(before - gasleft(), 1_500_000, "gas of the whole test");
    }

    function test_RevertWhen_KeyAnswersNothing() public {
        _expectRefused(address(new AnsweringKey("")), "");
    }

    /// @dev Anything but the one right word is no.
    function testFuzz_RevertWhen_KeyAnswersGarbage(bytes memory answer) public {
        vm.assume(answer.length < 32 || bytes32(answer) != _magic());
        _expectRefused(address(new AnsweringKey(answer)), "");
    }

    /// @dev The selector alone, without the word around it, isn't an encoded answer.
    function testFuzz_RevertWhen_AnswerIsCutShort(uint256 length) public {
        bytes memory answer = abi.encode(_magic());
        length = bound(length, 0, 31);
        assembly ("memory-safe") {
            mstore(answer, length)
        }
        _expectRefused(address(new AnsweringKey(answer)), "");
    }

    function testFuzz_RevertWhen_AnswerIsDirty(uint256 dirt) public {
        dirt = bound(dirt, 1, type(uint224).max);
        _expectRefused(address(new AnsweringKey(abi.encode(uint256(_magic()) | dirt))), "");
    }

    function testFuzz_RevertWhen_KeyFloods(bytes32 word, uint256 size) public {
        vm.assume(word != _magic());
        _expectRefused(address(new FloodingKey(word, bound(size, 0, 100_000))), "");
    }

    /// @dev A megabyte costs more to answer than a key may use.
    function test_RevertWhen_KeyFloodsWithoutEnd() public {
        _expectRefused(address(new FloodingKey(_magic(), 1_000_000)), "");
    }

    /// @dev An account without code has only its own signature.
    function testFuzz_RevertWhen_KeyHasNoCode(address nobody) public {
        _assumeStranger(nobody);
        vm.assume(nobody != key.addr);
        _expectRefused(nobody, "");
    }

    /// @dev A key that works longer than it may is refused, however much gas is sent.
    function test_RevertWhen_KeyIsTooSlow() public {
        _expectRefused(address(new BusyKey(KEY_GAS)), "");
    }

    /* GAS */

    /// @dev Whatever gas a claim is given, an honest key is either heard or the whole call fails.
    function testFuzz_Claim_NeverSkipsAnHonestKeyForGas(uint256 gas_) public {
        gas_ = bound(gas_, 30_000, 400_000);
        (SessionTerms memory terms, bytes32 id) = _startWithKey(address(new BusyKey(KEY_GAS * 9 / 10)));
        IMeteredSessions.Claim[] memory rows = new IMeteredSessions.Claim[](1);
        rows[0] = _row(terms, DEPOSIT, "");
        vm.prank(provider.addr);
        try sessions.claimBatch{gas: gas_}(provider.addr, rows) returns (uint256 taken) {
            assertEq(taken, 1, "taken");
            _assertOpen(id, DEPOSIT, DEPOSIT);
        } catch {
            _assertOpen(id, DEPOSIT, 0);
        }
    }

    /// @dev Nor one that delegates to an honest wallet, whose code costs the caller another look.
    function test_Claim_NeverSkipsAKeyThatDelegatesForGas() public {
        // Nearly all that a key may use, with what it takes to call it.
        BusyKey wallet = new BusyKey(KEY_GAS - 1_200);
        (SessionTerms memory terms, bytes32 id) = _startNew(plain, DEPOSIT);
        vm.etch(key.addr, abi.encodePacked(hex"ef0100", address(wallet)));
        vm.prank(provider.addr);
        sessions.claim{gas: 1_000_000}(_row(terms, 1, ""));
        IMeteredSessions.Claim[] memory rows = new IMeteredSessions.Claim[](1);
        rows[0] = _row(terms, DEPOSIT, "");
        uint256 taken;
        for (uint256 gas_ = KEY_GAS; taken == 0; gas_ += 250) {
            vm.cool(address(wallet));
            vm.prank(provider.addr);
            try sessions.claimBatch{gas: gas_}(provider.addr, rows) returns (uint256 count) {
                assertEq(count, 1, "taken");
                taken = count;
            } catch {}
        }
        _assertOpen(id, DEPOSIT, DEPOSIT);
    }

    function test_RevertWhen_GasIsTooLittleForTheKey() public {
        (SessionTerms memory terms, bytes32 id) = _startWithKey(address(new BusyKey(1)));
        IMeteredSessions.Claim memory row = _row(terms, DEPOSIT, "");
        vm.prank(provider.addr);
        try sessions.claim{gas: KEY_GAS}(row) {
            revert("claimed");
        } catch (bytes memory answer) {
            (bytes4 reason, bytes32 session, uint256 given, uint256 limit) = _decode(answer);
            assertEq(reason, IMeteredSessions.MeteredSessions_LittleGas.selector, "reason");
            assertEq(session, id, "session");
            assertLt(given, KEY_GAS, "gas left");
            assertEq(limit, KEY_GAS + KEY_GAS / 16, "gas needed");
        }
        vm.prank(provider.addr);
        sessions.claim{gas: KEY_GAS + CLAIM_GAS}(row);
        _assertOpen(id, DEPOSIT, DEPOSIT);
    }

    /* TAKEN */

    function testFuzz_Claim_ByAContractKey(bytes memory signature, uint256 units) public {
        units = bound(units, 1, DEPOSIT);
        ContractWallet wallet = new ContractWallet();
        (SessionTerms memory terms, bytes32 id) = _startWithKey(address(wallet));
        wallet.approve(_voucherDigest(id, units));
        vm.expectCall(
            address(wallet), abi.encodeCall(IERC1271.isValidSignature, (_voucherDigest(id, units), signature))
        );
        assertEq(_claim(_row(terms, units, signature)), units, "units paid");
        _assertOpen(id, DEPOSIT, units);
    }

    /// @dev A wallet may put more behind its answer; what counts is the first word.
    function testFuzz_Claim_LongAnswer(bytes memory more) public {
        (SessionTerms memory terms, bytes32 id) =
            _startWithKey(address(new AnsweringKey(abi.encodePacked(_magic(), more))));
        _claim(_row(terms, DEPOSIT, ""));
        _assertOpen(id, DEPOSIT, DEPOSIT);
    }

    /// @dev A hundred kilobytes behind a yes are never copied.
    function test_Claim_FloodingAnswer() public {
        (SessionTerms memory terms, bytes32 id) = _startWithKey(address(new FloodingKey(_magic(), 100_000)));
        vm.prank(provider.addr);
        sessions.claim{gas: KEY_GAS + CLAIM_GAS}(_row(terms, DEPOSIT, ""));
        _assertOpen(id, DEPOSIT, DEPOSIT);
    }

    function test_Claim_BusyKeyWithinItsGas() public {
        (SessionTerms memory terms, bytes32 id) = _startWithKey(address(new BusyKey(KEY_GAS * 9 / 10)));
        vm.prank(provider.addr);
        sessions.claim{gas: KEY_GAS + CLAIM_GAS}(_row(terms, DEPOSIT, ""));
        _assertOpen(id, DEPOSIT, DEPOSIT);
    }

    /// @dev An account can't take back what it signed by putting code at its address.
    function testFuzz_Claim_KeyDelegatesAfterSigning(uint256 units) public {
        units = bound(units, 1, DEPOSIT);
        (SessionTerms memory terms, bytes32 id) = _startNew(plain, DEPOSIT);
        IMeteredSessions.Claim memory row = _row(terms, units);
        vm.etch(key.addr, abi.encodePacked(hex"ef0100", address(new RevertingKey())));
        assertEq(_claim(row), units, "units paid");
        _assertOpen(id, DEPOSIT, units);
    }

    /// @dev A key that delegates may also agree by its code.
    function test_Claim_KeyDelegatesToAWallet() public {
        (SessionTerms memory terms, bytes32 id) = _startNew(plain, DEPOSIT);
        vm.etch(key.addr, abi.encodePacked(hex"ef0100", address(new AnsweringKey(""))));
        _expect(IMeteredSessions.MeteredSessions_BadSignature.selector, id, 0, _number(key.addr));
        _claim(_row(terms, DEPOSIT, ""));
        vm.etch(key.addr, abi.encodePacked(hex"ef0100", address(new BusyKey(1))));
        _claim(_row(terms, DEPOSIT, ""));
        _assertOpen(id, DEPOSIT, DEPOSIT);
    }

    /* HELPERS */

    function _magic() private pure returns (bytes32) {
        return bytes32(IERC1271.isValidSignature.selector);
    }

    function _expectRefused(address contractKey, bytes memory signature) private {
        (SessionTerms memory terms, bytes32 id) = _startWithKey(contractKey);
        IMeteredSessions.Claim memory row = _row(terms, DEPOSIT, signature);
        _expect(IMeteredSessions.MeteredSessions_BadSignature.selector, id, 0, _number(contractKey));
        vm.prank(provider.addr);
        sessions.claim{gas: KEY_GAS + CLAIM_GAS}(row);
        _assertOpen(id, DEPOSIT, 0);
    }

    function _decode(bytes memory answer)
        private
        pure
        returns (bytes4 reason, bytes32 id, uint256 given, uint256 limit)
    {
        reason = bytes4(answer);
        assembly ("memory-safe") {
            id := mload(add(answer, 36))
            given := mload(add(answer, 68))
            limit := mload(add(answer, 100))
        }
    }
}
