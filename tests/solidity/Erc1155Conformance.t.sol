// SPDX-License-Identifier: MIT
pragma solidity ^0.8.30;

import {IERC5267} from "@openzeppelin/contracts/interfaces/IERC5267.sol";
import {IERC165} from "@openzeppelin/contracts/utils/introspection/IERC165.sol";
import {IERC1155MetadataURI} from "@openzeppelin/contracts/token/ERC1155/extensions/IERC1155MetadataURI.sol";
import {Vm} from "forge-std/Vm.sol";
import {Erc1155Base} from "./support/Erc1155Base.sol";

/// @dev Credits held against the text of ERC-1155, ERC-165, EIP-6093, ERC-5267 and ERC-7572.
contract Erc1155ConformanceTest is Erc1155Base {
    /* MUST REVERT */

    function testFuzz_RevertWhen_ToTheZeroAddress(uint96 units) public {
        bytes memory reason = abi.encodeWithSelector(_error("ERC1155InvalidReceiver(address)"), address(0));
        _expectRefused(alice.addr, reason, address(0), bound(units, 0, HELD));
    }

    function testFuzz_RevertWhen_MoreThanTheBalance(uint256 units) public {
        units = bound(units, uint256(HELD) + 1, type(uint256).max);
        bytes memory reason = abi.encodeWithSelector(
            _error("ERC1155InsufficientBalance(address,uint256,uint256,uint256)"), alice.addr, HELD, units, first
        );
        _expectRefused(alice.addr, reason, bob.addr, units);
    }

    /// @dev The second time, what the first left is the balance.
    function testFuzz_RevertWhen_RepeatedIdsSumUpToMoreThanTheBalance(uint96 a, uint256 b) public {
        a = uint96(bound(a, 1, HELD));
        b = bound(b, uint256(HELD) - a + 1, type(uint256).max);
        (uint256[] memory ids, uint256[] memory values) = _pair(first, a, first, b);
        bytes4 name = _error("ERC1155InsufficientBalance(address,uint256,uint256,uint256)");
        vm.expectRevert(abi.encodeWithSelector(name, alice.addr, HELD - a, b, first));
        vm.prank(alice.addr);
        credits.safeBatchTransferFrom(alice.addr, bob.addr, ids, values, "");
    }

    function testFuzz_RevertWhen_LengthsDiffer(uint8 ids, uint8 values) public {
        vm.assume(ids != values);
        bytes4 name = _error("ERC1155InvalidArrayLength(uint256,uint256)");
        vm.expectRevert(abi.encodeWithSelector(name, ids, values));
        vm.prank(alice.addr);
        credits.safeBatchTransferFrom(alice.addr, bob.addr, new uint256[](ids), new uint256[](values), "");
        vm.expectRevert(abi.encodeWithSelector(name, ids, values));
        credits.balanceOfBatch(new address[](values), new uint256[](ids));
    }

    function testFuzz_RevertWhen_NotApproved(address caller, uint96 units) public {
        _assumeStranger(caller);
        bytes memory reason =
            abi.encodeWithSelector(_error("ERC1155MissingApprovalForAll(address,address)"), caller, alice.addr);
        // What the caller approves is the caller's own.
        vm.prank(caller);
        credits.setApprovalForAll(alice.addr, true);
        _expectRefused(caller, reason, bob.addr, bound(units, 0, HELD));
    }

    function test_RevertWhen_NobodyIsApproved() public {
        vm.expectRevert(abi.encodeWithSelector(_error("ERC1155InvalidOperator(address)"), address(0)));
        vm.prank(alice.addr);
        credits.setApprovalForAll(address(0), true);
    }

    /// @dev Only the magic value of the hook that was called, in a whole word with zeros behind it, is acceptance.
    function testFuzz_RevertUnless_AnsweredTheMagicValue(bytes32 word, uint256 kind, uint256 size) public {
        kind = bound(kind, 0, 3);
        size = bound(size, 0, 64);
        if (kind == 1) word = bytes32(ON_RECEIVED);
        if (kind == 2) word = bytes32(ON_BATCH_RECEIVED);
        if (kind == 3) word = bytes32(ON_RECEIVED) | (word >> 32);
        bytes memory given = new bytes(size);
        for (uint256 i; i < size && i < 32; ++i) {
            given[i] = word[i];
        }
        witness.answer(given, false);
        bool taken = size >= 32 && word == bytes32(ON_RECEIVED);
        assertEq(_succeeds(alice.addr, _single(address(witness), 1)), taken, "single");
        assertEq(_succeeds(issuer.addr, abi.encodeCall(credits.grant, (address(witness), first, 1))), taken, "mint");
        taken = size >= 32 && word == bytes32(ON_BATCH_RECEIVED);
        assertEq(_succeeds(alice.addr, _batch(address(witness), 1)), taken, "batch");
    }

    /// @dev What the receiver reverts with is passed on; the magic value in a revert is no acceptance.
    function testFuzz_RevertWhen_TheReceiverReverts(bytes memory reason, bool magic) public {
        if (magic) reason = abi.encode(ON_RECEIVED);
        witness.answer(reason, true);
        bytes memory passed = reason.length != 0
            ? reason
            : abi.encodeWithSelector(_error("ERC1155InvalidReceiver(address)"), address(witness));
        _expectRefused(alice.addr, passed, address(witness), 1);
        _expectRefused(issuer.addr, passed, abi.encodeCall(credits.grant, (address(witness), first, 1)));
    }

    /* RECEIVERS */

    /// @dev Balances have moved and the event is out when the receiver is called, with the very arguments.
    function testFuzz_Single_ReceiverCalledLast(address operator, uint96 units, bytes calldata data) public {
        _assumeStranger(operator);
        units = uint96(bound(units, 0, HELD));
        _watch(first);
        _approve(operator, true);
        vm.recordLogs();
        vm.prank(operator);
        credits.safeTransferFrom(alice.addr, address(witness), first, units, data);
        Vm.Log[] memory logs = vm.getRecordedLogs();
        assertEq(logs.length, 4, "transfer, call, two looks");
        _assertMove(logs[0], SINGLE, operator, alice.addr, address(witness));
        assertEq(logs[0].data, abi.encode(first, units), "id and value");
        bytes memory call = abi.encodeWithSelector(ON_RECEIVED, operator, alice.addr, first, units, data);
        assertEq(abi.decode(logs[1].data, (bytes)), call, "called with");
        _assertSaw(logs[2], HELD - units, "holder");
        _assertSaw(logs[3], units, "receiver");
    }

    function testFuzz_Batch_ReceiverCalledLast(uint96 a, uint96 b, bool same, bytes calldata data) public {
        (a, b) = (uint96(bound(a, 0, HELD / 2)), uint96(bound(b, 0, HELD / 2)));
        (uint256[] memory ids, uint256[] memory values) = _pair(second, a, same ? second : first, b);
        _watch(second);
        vm.recordLogs();
        vm.prank(alice.addr);
        credits.safeBatchTransferFrom(alice.addr, address(witness), ids, values, data);
        Vm.Log[] memory logs = vm.getRecordedLogs();
        assertEq(logs.length, 4, "transfer, call, two looks");
        _assertMove(logs[0], BATCH, alice.addr, alice.addr, address(witness));
        assertEq(logs[0].data, abi.encode(ids, values), "ids and values, in order");
        bytes memory call = abi.encodeWithSelector(ON_BATCH_RECEIVED, alice.addr, alice.addr, ids, values, data);
        assertEq(abi.decode(logs[1].data, (bytes)), call, "called with");
        uint256 moved = same ? uint256(a) + b : a;
        _assertSaw(logs[2], HELD - moved, "holder");
        _assertSaw(logs[3], moved, "receiver");
    }

    function testFuzz_Mint_ReceiverCalledLast(uint96 units) public {
        units = uint96(bound(units, 0, HELD));
        witness.look(address(witness), first);
        vm.recordLogs();
        vm.prank(issuer.addr);
        credits.grant(address(witness), first, units);
        Vm.Log[] memory logs = vm.getRecordedLogs();
        _assertMove(logs[0], SINGLE, issuer.addr, address(0), address(witness));
        bytes memory call = abi.encodeWithSelector(ON_RECEIVED, issuer.addr, address(0), first, units, "");
        assertEq(abi.decode(logs[1].data, (bytes)), call, "called with");
        _assertSaw(logs[2], units, "receiver");
    }

    /// @dev Outside of a mint or transfer nobody's hook is called.
    function testFuzz_NoTransfer_NobodyCalled(uint96 units) public {
        units = uint96(bound(units, 1, HELD));
        _buy(address(witness), plain, units);
        vm.recordLogs();
        _approve(address(witness), true);
        vm.prank(address(witness));
        credits.safeTransferFrom(address(witness), bob.addr, plain, units, "");
        Vm.Log[] memory logs = vm.getRecordedLogs();
        for (uint256 i; i < logs.length; ++i) {
            assertTrue(logs[i].emitter != address(witness), "called");
        }
    }

    /* TRANSFERS */

    /// @dev Ids repeated in any order: each part moves, and the event lists them as they were given.
    function testFuzz_Batch_RepeatedIds(uint8[16] calldata picks, uint96 units) public {
        units = uint96(bound(units, 0, HELD / 16));
        uint256[] memory ids = new uint256[](16);
        uint256[] memory values = new uint256[](16);
        uint256[2] memory sums;
        for (uint256 i; i < 16; ++i) {
            (ids[i], values[i]) = (picks[i] % 2 == 0 ? first : second, picks[i] % 3 == 0 ? 0 : units);
            sums[picks[i] % 2] += values[i];
        }
        vm.recordLogs();
        vm.prank(alice.addr);
        credits.safeBatchTransferFrom(alice.addr, bob.addr, ids, values, "");
        assertEq(vm.getRecordedLogs()[0].data, abi.encode(ids, values), "ids and values");
        assertEq(credits.balanceOf(bob.addr, first), sums[0], "first");
        assertEq(credits.balanceOf(bob.addr, second), sums[1], "second");
        assertEq(credits.balanceOf(alice.addr, first), HELD - sums[0], "first that is left");
        assertEq(credits.balanceOf(alice.addr, second), HELD - sums[1], "second that is left");
    }

    /// @dev A whole balance can be sent to oneself over and over.
    function testFuzz_ToOneself(uint96 a, uint96 b) public {
        (a, b) = (uint96(bound(a, 0, HELD)), uint96(bound(b, 0, HELD)));
        (uint256[] memory ids, uint256[] memory values) = _pair(first, a, first, b);
        vm.recordLogs();
        vm.startPrank(alice.addr);
        credits.safeBatchTransferFrom(alice.addr, alice.addr, ids, values, "");
        credits.safeTransferFrom(alice.addr, alice.addr, first, a, "");
        vm.stopPrank();
        Vm.Log[] memory logs = vm.getRecordedLogs();
        _assertMove(logs[0], BATCH, alice.addr, alice.addr, alice.addr);
        _assertMove(logs[1], SINGLE, alice.addr, alice.addr, alice.addr);
        assertEq(credits.balanceOf(alice.addr, first), HELD, "balance");
    }

    /// @dev Zero-value transfers are transfers, of accounts that hold nothing too.
    function testFuzz_OfNothing(address from) public {
        _assumeStranger(from);
        (uint256[] memory ids, uint256[] memory values) = _pair(first, 0, second, 0);
        vm.recordLogs();
        vm.startPrank(from);
        credits.safeTransferFrom(from, address(witness), first, 0, "");
        credits.safeBatchTransferFrom(from, address(witness), ids, values, "");
        vm.stopPrank();
        Vm.Log[] memory logs = vm.getRecordedLogs();
        assertEq(logs.length, 4, "two transfers, two calls");
        _assertMove(logs[0], SINGLE, from, from, address(witness));
        _assertMove(logs[2], BATCH, from, from, address(witness));
    }

    /* APPROVALS */

    /// @dev Every call is logged, changing or not; the approval is one-way and for all ids.
    function testFuzz_Approval(address operator, uint96 units) public {
        _assumeStranger(operator);
        for (uint256 i; i < 4; ++i) {
            vm.recordLogs();
            _approve(operator, i < 2);
            Vm.Log[] memory logs = vm.getRecordedLogs();
            assertEq(logs[0].topics[0], keccak256("ApprovalForAll(address,address,bool)"), "event");
            assertEq(_account(logs[0].topics[1]), alice.addr, "owner");
            assertEq(_account(logs[0].topics[2]), operator, "operator");
            assertEq(logs[0].data, abi.encode(i < 2), "approved");
            assertEq(credits.isApprovedForAll(alice.addr, operator), i < 2, "answer");
            assertFalse(credits.isApprovedForAll(operator, alice.addr), "not the other way");
            assertEq(_succeeds(operator, _single(bob.addr, bound(units, 0, HELD / 4))), i < 2, "single");
            assertEq(_succeeds(operator, _batch(operator, bound(units, 0, HELD / 4))), i < 2, "batch");
        }
    }

    /* BALANCES AND EVENTS */

    function testFuzz_BalanceOfBatch(uint256 seed, uint8 length) public {
        vm.prank(alice.addr);
        credits.safeTransferFrom(alice.addr, bob.addr, first, seed % HELD, "");
        address[] memory accounts = new address[](length);
        uint256[] memory ids = new uint256[](length);
        for (uint256 i; i < length; ++i) {
            uint256 draw = uint256(keccak256(abi.encode(seed, i)));
            accounts[i] = [alice.addr, bob.addr, anyone][draw % 3];
            ids[i] = [first, second, 0][(draw >> 8) % 3];
        }
        uint256[] memory answers = credits.balanceOfBatch(accounts, ids);
        assertEq(answers.length, length, "one for each");
        for (uint256 i; i < length; ++i) {
            assertEq(answers[i], credits.balanceOf(accounts[i], ids[i]), "as asked one by one");
        }
    }

    /// @dev Mints come from zero, burns go to zero, and the sum of all events is every balance and the supply.
    function testFuzz_SumOfEvents(uint96 units, uint96 used, uint96 spent) public {
        units = uint96(bound(units, 3, HELD));
        (used, spent) = (uint96(bound(used, 0, units / 3)), uint96(bound(spent, 0, units / 3)));
        vm.recordLogs();
        _buy(alice.addr, plain, units);
        _settleJob(plain, units / 3, used);
        _spendSession(plain, units / 3, spent);
        (uint256[] memory ids, uint256[] memory values) = _pair(plain, units / 4, plain, 0);
        vm.prank(alice.addr);
        credits.safeBatchTransferFrom(alice.addr, bob.addr, ids, values, "");
        _close(plain);
        vm.prank(alice.addr);
        reserve.reclaim(plain, 1);
        address[4] memory who = [address(0), alice.addr, bob.addr, address(sessions)];
        int256[4] memory sums = _sums(vm.getRecordedLogs(), plain, who);
        for (uint256 i = 1; i < who.length; ++i) {
            assertEq(sums[i], int256(credits.balanceOf(who[i], plain)), "balance");
        }
        assertEq(-sums[0], int256(credits.totalSupply(plain)), "supply: minted less burned");
        assertEq(uint256(-sums[0]), uint256(units) - used - spent - 1, "what was used and reclaimed is burned");
        assertEq(sums[0] + sums[1] + sums[2] + sums[3], 0, "nobody else has any");
    }

    /* WHAT IT SAYS OF ITSELF */

    /// @dev ERC-165, ERC-1155 and its metadata; each answer for less than 30,000 gas.
    function test_Erc165() public view {
        bytes4[3] memory known = [bytes4(0x01ffc9a7), bytes4(0xd9b67a26), bytes4(0x0e89341c)];
        for (uint256 i; i < known.length; ++i) {
            assertTrue(IERC165(address(credits)).supportsInterface{gas: 30_000}(known[i]), "supported");
        }
        bytes4[3] memory others = [bytes4(0xffffffff), bytes4(0x4e2312e0), bytes4(0x80ac58cd)];
        for (uint256 i; i < others.length; ++i) {
            assertFalse(IERC165(address(credits)).supportsInterface{gas: 30_000}(others[i]), "not supported");
        }
    }

    /// @dev Where an event told the URI, `uri` answers what the last one told.
    function testFuzz_Uri_AsTheLastEvent(uint96 units) public {
        units = uint96(bound(units, 1, HELD));
        vm.recordLogs();
        uint256 id = _createClass(_saleTerms());
        _buy(alice.addr, id, units);
        _settleJob(id, units, units);
        _close(id);
        Vm.Log[] memory logs = vm.getRecordedLogs();
        string memory told;
        for (uint256 i; i < logs.length; ++i) {
            if (logs[i].topics[0] != URI) continue;
            assertEq(uint256(logs[i].topics[1]), id, "whose");
            told = abi.decode(logs[i].data, (string));
        }
        assertEq(IERC1155MetadataURI(address(credits)).uri(id), told, "as told");
        assertEq(vm.indexOf(told, "data:application/json;base64,"), 0, "an RFC 3986 URI");
    }

    function test_ContractUri() public view {
        assertEq(vm.indexOf(credits.contractURI(), "data:application/json;base64,"), 0, "an RFC 3986 URI");
    }

    /// @dev ERC-5267, on this chain and on one that it became by a split.
    function testFuzz_Eip712Domain(uint64 chain) public {
        vm.chainId(bound(chain, 1, type(uint64).max));
        address[7] memory all = [
            address(credits),
            address(registry),
            address(verifier),
            address(market),
            address(sessions),
            address(budgets),
            address(exchange)
        ];
        string[7] memory names = [
            "Scrip ComputeCredits",
            "Scrip ProviderRegistry",
            "Scrip ReceiptVerifier",
            "Scrip JobMarket",
            "Scrip MeteredSessions",
            "Scrip SpendingBudgets",
            "Scrip CreditExchange"
        ];
        for (uint256 i; i < all.length; ++i) {
            _assertDomain(all[i], names[i]);
        }
    }

    function _assertDomain(address signing, string memory expected) private view {
        (
            bytes1 fields,
            string memory name,
            string memory version,
            uint256 chainId,
            address verifying,
            bytes32 salt,
            uint256[] memory extensions
        ) = IERC5267(signing).eip712Domain();
        assertEq(uint8(fields), 0x0f, "name, version, chain and contract");
        assertEq(name, expected, "name");
        assertEq(version, "1", "version");
        assertEq(chainId, block.chainid, "chain");
        assertEq(verifying, signing, "contract");
        assertEq(uint256(salt) + extensions.length, 0, "neither salt nor extensions");
    }
}
