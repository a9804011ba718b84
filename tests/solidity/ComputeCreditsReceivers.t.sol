// SPDX-License-Identifier: MIT
pragma solidity ^0.8.30;

import {IERC1155Errors} from "@openzeppelin/contracts/interfaces/draft-IERC6093.sol";
import {IERC1155} from "@openzeppelin/contracts/token/ERC1155/IERC1155.sol";
import {Vm} from "forge-std/Vm.sol";
import {Base} from "./Base.t.sol";
import {Mute, Receiver} from "./support/Receivers.sol";

/// @dev ERC-1155's rules for receivers, batches and the order of events, on each way units reach an account.
contract ComputeCreditsReceiversTest is Base {
    uint96 private constant UNITS = 1_000;
    Receiver private receiver;
    uint256 private first;
    uint256 private second;

    function setUp() public override {
        super.setUp();
        receiver = new Receiver();
        first = _createClass(_grantTerms());
        second = _createClass(_grantTerms());
        vm.startPrank(issuer.addr);
        credits.grant(alice.addr, first, UNITS);
        credits.grant(alice.addr, second, UNITS);
        vm.stopPrank();
    }

    /* REFUSALS */

    /// @dev An answer that isn't the magic value of the very hook that was called is a refusal.
    function test_RevertWhen_ReceiverAnswersSomethingElse() public {
        Receiver.Answer[2] memory answers = [Receiver.Answer.Wrong, Receiver.Answer.OtherHook];
        for (uint256 i; i < answers.length; ++i) {
            receiver.answer(answers[i]);
            _expectRefusedEverywhere(
                abi.encodeWithSelector(IERC1155Errors.ERC1155InvalidReceiver.selector, address(receiver)),
                abi.encodeWithSelector(IERC1155Errors.ERC1155InvalidReceiver.selector, address(receiver))
            );
        }
    }

    /// @dev What the receiver says is passed on.
    function test_RevertWhen_ReceiverRevertsWithAReason() public {
        receiver.answer(Receiver.Answer.CustomError);
        _expectRefusedEverywhere(
            abi.encodeWithSelector(Receiver.Receiver_Refused.selector, first),
            abi.encodeWithSelector(Receiver.Receiver_Refused.selector, second)
        );
    }

    function test_RevertWhen_ReceiverRevertsWithoutReason() public {
        receiver.answer(Receiver.Answer.NoReason);
        _expectRefusedEverywhere(
            abi.encodeWithSelector(IERC1155Errors.ERC1155InvalidReceiver.selector, address(receiver)),
            abi.encodeWithSelector(IERC1155Errors.ERC1155InvalidReceiver.selector, address(receiver))
        );
    }

    /// @dev A contract that knows nothing of ERC-1155 can't get stuck with credits.
    function test_RevertWhen_ReceiverHasNoHook() public {
        bytes memory reason = abi.encodeWithSelector(IERC1155Errors.ERC1155InvalidReceiver.selector, address(this));
        vm.expectRevert(reason);
        _send(address(this));
        vm.expectRevert(reason);
        _sendBatch(address(this));
        vm.expectRevert(reason);
        _grant(address(this));
    }

    /// @dev Nor one that swallows every call: no answer is not the magic value.
    function test_RevertWhen_ReceiverAnswersNothing() public {
        address mute = address(new Mute());
        vm.expectRevert(bytes(""));
        _send(mute);
        vm.expectRevert(bytes(""));
        _sendBatch(mute);
        vm.expectRevert(bytes(""));
        _grant(mute);
    }

    /* WHAT RECEIVERS ARE TOLD */

    function testFuzz_Transfer_TellsTheReceiver(uint96 units, bytes calldata data) public {
        units = uint96(bound(units, 0, UNITS));
        _approve(anyone);
        vm.recordLogs();
        vm.prank(anyone);
        credits.safeTransferFrom(alice.addr, address(receiver), first, units, data);
        _assertTold(abi.encode(anyone, alice.addr, first, units, data), 1, 0);
        Vm.Log[] memory logs = vm.getRecordedLogs();
        assertEq(logs.length, 2, "the transfer, and the receiver's own event");
        _assertMove(logs[0], IERC1155.TransferSingle.selector, anyone, alice.addr);
        assertEq(logs[0].data, abi.encode(first, units), "id and units");
        _assertSeen(logs[1], units);
    }

    function testFuzz_TransferBatch_TellsTheReceiverOnce(uint96 a, uint96 b, bytes calldata data) public {
        (a, b) = (uint96(bound(a, 0, UNITS)), uint96(bound(b, 0, UNITS)));
        _approve(anyone);
        (uint256[] memory ids, uint256[] memory values) = _pair(a, b);
        vm.recordLogs();
        vm.prank(anyone);
        credits.safeBatchTransferFrom(alice.addr, address(receiver), ids, values, data);
        _assertTold(abi.encode(anyone, alice.addr, ids, values, data), 0, 1);
        Vm.Log[] memory logs = vm.getRecordedLogs();
        assertEq(logs.length, 2, "one transfer, and the receiver's own event");
        _assertMove(logs[0], IERC1155.TransferBatch.selector, anyone, alice.addr);
        assertEq(logs[0].data, abi.encode(ids, values), "ids and units, in the order given");
        _assertSeen(logs[1], b);
    }

    function testFuzz_Mint_TellsTheReceiver(uint96 units) public {
        units = uint96(bound(units, 0, MAX_UNITS));
        vm.recordLogs();
        vm.prank(issuer.addr);
        credits.grant(address(receiver), first, units);
        _assertTold(abi.encode(issuer.addr, address(0), first, units, ""), 1, 0);
        Vm.Log[] memory logs = vm.getRecordedLogs();
        assertEq(logs.length, 2, "the transfer, and the receiver's own event");
        _assertMove(logs[0], IERC1155.TransferSingle.selector, issuer.addr, address(0));
        _assertSeen(logs[1], units);
    }

    /// @dev All balances are written before the receiver acts on them.
    function testFuzz_Transfer_SentOnFromTheHook(uint96 units) public {
        units = uint96(bound(units, 0, UNITS));
        receiver.forward(bob.addr);
        vm.prank(alice.addr);
        credits.safeTransferFrom(alice.addr, address(receiver), first, units, "");
        vm.prank(issuer.addr);
        credits.grant(address(receiver), first, units);
        _assertCredits(alice.addr, first, UNITS - units, "sender");
        _assertCredits(address(receiver), first, 0, "receiver");
        _assertCredits(bob.addr, first, 2 * uint256(units), "who got it in the end");
        assertEq(credits.totalSupply(first), uint256(UNITS) + units, "supply");
    }

    /// @dev Accounts without code are asked nothing.
    function testFuzz_Transfer_ToAnAccountWithoutCode(address to, uint96 units) public {
        _assumeStranger(to);
        units = uint96(bound(units, 0, UNITS));
        vm.prank(alice.addr);
        credits.safeTransferFrom(alice.addr, to, first, units, "data");
        _assertCredits(to, first, units, "receiver");
    }

    /* BATCHES */

    function test_TransferBatch_OfNothing() public {
        vm.expectEmit(address(credits));
        emit IERC1155.TransferBatch(alice.addr, alice.addr, address(receiver), new uint256[](0), new uint256[](0));
        vm.prank(alice.addr);
        credits.safeBatchTransferFrom(alice.addr, address(receiver), new uint256[](0), new uint256[](0), "");
        _assertTold(abi.encode(alice.addr, alice.addr, new uint256[](0), new uint256[](0), ""), 0, 1);
    }

    function testFuzz_BalanceOfBatch(uint96 a, uint96 b) public {
        vm.startPrank(issuer.addr);
        credits.grant(bob.addr, first, bound(a, 0, MAX_UNITS));
        credits.grant(bob.addr, second, bound(b, 0, MAX_UNITS));
        address[] memory accounts = new address[](4);
        (accounts[0], accounts[1], accounts[2], accounts[3]) = (alice.addr, bob.addr, bob.addr, alice.addr);
        uint256[] memory ids = new uint256[](4);
        (ids[0], ids[1], ids[2], ids[3]) = (first, first, second, 0);
        uint256[] memory held = credits.balanceOfBatch(accounts, ids);
        for (uint256 i; i < 4; ++i) {
            assertEq(held[i], credits.balanceOf(accounts[i], ids[i]), "as asked one by one");
        }
    }

    function testFuzz_RevertWhen_BalancesAskedOfUnequalLists(uint8 ids, uint8 accounts) public {
        vm.assume(ids != accounts);
        vm.expectRevert(abi.encodeWithSelector(IERC1155Errors.ERC1155InvalidArrayLength.selector, ids, accounts));
        credits.balanceOfBatch(new address[](accounts), new uint256[](ids));
    }

    /* HELPERS */

    /// @dev Nothing may have changed once the receiver refused.
    function _expectRefusedEverywhere(bytes memory single, bytes memory batch) private {
        vm.expectRevert(single);
        _send(address(receiver));
        vm.expectRevert(batch);
        _sendBatch(address(receiver));
        vm.expectRevert(single);
        _grant(address(receiver));
        _assertCredits(address(receiver), first, 0, "receiver");
        _assertCredits(alice.addr, first, UNITS, "sender");
        assertEq(credits.totalSupply(first), UNITS, "supply");
    }

    function _approve(address operator) private {
        vm.prank(alice.addr);
        credits.setApprovalForAll(operator, true);
    }

    function _send(address to) private {
        vm.prank(alice.addr);
        credits.safeTransferFrom(alice.addr, to, first, 1, "");
    }

    function _sendBatch(address to) private {
        (uint256[] memory ids, uint256[] memory values) = _pair(1, 1);
        vm.prank(alice.addr);
        credits.safeBatchTransferFrom(alice.addr, to, ids, values, "");
    }

    function _grant(address to) private {
        vm.prank(issuer.addr);
        credits.grant(to, first, 1);
    }

    function _pair(uint256 a, uint256 b) private view returns (uint256[] memory ids, uint256[] memory values) {
        (ids, values) = (new uint256[](2), new uint256[](2));
        (ids[0], ids[1]) = (first, second);
        (values[0], values[1]) = (a, b);
    }

    function _assertTold(bytes memory expected, uint256 singles, uint256 batches) private view {
        assertEq(receiver.told(), expected, "what it was told");
        assertEq(receiver.singles(), singles, "single hooks");
        assertEq(receiver.batches(), batches, "batch hooks");
    }

    function _assertMove(Vm.Log memory log, bytes32 topic, address operator, address from) private view {
        assertEq(log.emitter, address(credits), "the credits' event comes first");
        assertEq(log.topics[0], topic, "event");
        assertEq(log.topics[1], bytes32(uint256(uint160(operator))), "operator");
        assertEq(log.topics[2], bytes32(uint256(uint160(from))), "from");
        assertEq(log.topics[3], bytes32(uint256(uint160(address(receiver)))), "to");
    }

    /// @dev The balance had changed when the hook ran.
    function _assertSeen(Vm.Log memory log, uint256 balance) private view {
        assertEq(log.topics[0], Receiver.Told.selector, "the receiver's event comes second");
        assertEq(log.data, abi.encode(address(credits), balance), "balance seen");
    }
}
