// SPDX-License-Identifier: MIT
pragma solidity ^0.8.30;

import {IERC1155Errors} from "@openzeppelin/contracts/interfaces/draft-IERC6093.sol";
import {IERC1155} from "@openzeppelin/contracts/token/ERC1155/IERC1155.sol";
import {IComputeCredits} from "contracts/interfaces/IComputeCredits.sol";
import {ClassTerms} from "contracts/interfaces/Types.sol";
import {Base} from "./Base.t.sol";
import {AllowList} from "./support/Wallets.sol";

/// @dev Transfers between accounts, and what the terms of a class forbid.
contract ComputeCreditsTransferTest is Base {
    /* REVERTS */

    function testFuzz_RevertWhen_AccountBound(address to, uint96 held, uint96 units) public {
        _assumeStranger(to);
        ClassTerms memory terms = _grantTerms();
        terms.transferable = false;
        uint256 id = _granted(terms, alice.addr, held);
        units = uint96(bound(units, 0, held));
        bytes4 reason = IComputeCredits.ComputeCredits_AccountBound.selector;
        _expect(reason, id, to, alice.addr);
        _send(alice.addr, to, id, units);
        _expect(reason, id, to, alice.addr);
        _sendBatch(alice.addr, to, id, units, id, 0);
    }

    function testFuzz_RevertWhen_Expired(uint96 held, uint40 late) public {
        ClassTerms memory terms = _grantTerms();
        terms.expiry = uint40(START + 1 days);
        uint256 id = _granted(terms, alice.addr, held);
        late = uint40(bound(late, uint256(terms.expiry) + 1, type(uint40).max));
        vm.warp(late);
        _expect(IComputeCredits.ComputeCredits_Expired.selector, id, late, terms.expiry);
        _send(alice.addr, bob.addr, id, held);
    }

    /// @dev Holdings of classes that are restricted, or that aren't held yet, don't carry the expiry: the class is asked.
    function testFuzz_RevertWhen_ExpiredAndAskedOfTheClass(uint96 held, uint40 late) public {
        ClassTerms memory terms = _grantTerms();
        terms.expiry = uint40(START + 1 days);
        uint256 free = _createClass(terms);
        terms.maxPerHolder = type(uint96).max;
        uint256 id = _granted(terms, alice.addr, held);
        late = uint40(bound(late, uint256(terms.expiry) + 1, type(uint40).max));
        vm.warp(late);
        _expect(IComputeCredits.ComputeCredits_Expired.selector, id, late, terms.expiry);
        _send(alice.addr, bob.addr, id, held);
        _expect(IComputeCredits.ComputeCredits_Expired.selector, free, late, terms.expiry);
        _send(alice.addr, bob.addr, free, 0);
    }

    /// @dev The expiry goes with the units from holder to holder.
    function testFuzz_RevertWhen_ExpiredAfterChangingHands(uint96 held, uint40 late) public {
        ClassTerms memory terms = _grantTerms();
        terms.expiry = uint40(START + 1 days);
        uint256 id = _granted(terms, alice.addr, held);
        _send(alice.addr, bob.addr, id, held);
        late = uint40(bound(late, uint256(terms.expiry) + 1, type(uint40).max));
        vm.warp(late);
        _expect(IComputeCredits.ComputeCredits_Expired.selector, id, late, terms.expiry);
        _send(bob.addr, alice.addr, id, held);
    }

    function testFuzz_RevertWhen_ReceiverGoesOverTheCap(uint96 cap, uint96 has, uint96 units) public {
        ClassTerms memory terms = _grantTerms();
        cap = uint96(bound(cap, 1, type(uint96).max / 2));
        terms.maxPerHolder = cap;
        uint256 id = _granted(terms, alice.addr, cap);
        has = uint96(bound(has, 1, cap));
        _grant(bob.addr, id, has);
        units = uint96(bound(units, uint256(cap) - has + 1, cap));
        _expect(IComputeCredits.ComputeCredits_HolderCap.selector, id, uint256(has) + units, cap);
        _send(alice.addr, bob.addr, id, units);
    }

    function testFuzz_RevertWhen_ReceiverNotEligible(address to, uint96 held) public {
        _assumeStranger(to);
        (AllowList list, uint256 id) = _listedClass(held);
        _expect(IComputeCredits.ComputeCredits_NotEligible.selector, id, to, address(list));
        _send(alice.addr, to, id, held);
    }

    function testFuzz_RevertWhen_SenderNotApproved(address caller, uint96 held) public {
        _assumeStranger(caller);
        uint256 id = _granted(_grantTerms(), alice.addr, held);
        bytes memory reason =
            abi.encodeWithSelector(IERC1155Errors.ERC1155MissingApprovalForAll.selector, caller, alice.addr);
        vm.startPrank(caller);
        vm.expectRevert(reason);
        credits.safeTransferFrom(alice.addr, caller, id, held, "");
        (uint256[] memory ids, uint256[] memory values) = _pair(id, held, id, 0);
        vm.expectRevert(reason);
        credits.safeBatchTransferFrom(alice.addr, caller, ids, values, "");
    }

    function testFuzz_RevertWhen_SendingMoreThanHeld(uint96 held, uint256 units) public {
        uint256 id = _granted(_grantTerms(), alice.addr, held);
        units = bound(units, uint256(held) + 1, type(uint256).max);
        vm.expectRevert(
            abi.encodeWithSelector(IERC1155Errors.ERC1155InsufficientBalance.selector, alice.addr, held, units, id)
        );
        _send(alice.addr, bob.addr, id, units);
    }

    /// @dev Credits reach the market only through a job: those sent to it by hand could never come back.
    function testFuzz_RevertWhen_SendingToAContractOfTheSystem(uint96 held) public {
        uint256 id = _granted(_grantTerms(), alice.addr, held);
        address[5] memory contracts =
            [address(market), address(sessions), address(reserve), address(exchange), address(credits)];
        for (uint256 i; i < contracts.length; ++i) {
            bytes memory reason = abi.encodeWithSelector(IERC1155Errors.ERC1155InvalidReceiver.selector, contracts[i]);
            vm.expectRevert(reason);
            _send(alice.addr, contracts[i], id, held);
            vm.expectRevert(reason);
            _sendBatch(alice.addr, contracts[i], id, held, id, 0);
        }
    }

    function testFuzz_RevertWhen_SendingToNobody(uint96 held) public {
        uint256 id = _granted(_grantTerms(), alice.addr, held);
        bytes memory reason = abi.encodeWithSelector(IERC1155Errors.ERC1155InvalidReceiver.selector, address(0));
        vm.expectRevert(reason);
        _send(alice.addr, address(0), id, held);
        vm.expectRevert(reason);
        _sendBatch(alice.addr, address(0), id, held, id, 0);
    }

    /// @dev Refused even if there is nothing in the batch.
    function test_RevertWhen_AnEmptyBatchGoesToTheMarketOrTheSessions() public {
        address[2] memory refused = [address(market), address(sessions)];
        for (uint256 i; i < refused.length; ++i) {
            vm.expectRevert(abi.encodeWithSelector(IERC1155Errors.ERC1155InvalidReceiver.selector, refused[i]));
            vm.prank(alice.addr);
            credits.safeBatchTransferFrom(alice.addr, refused[i], new uint256[](0), new uint256[](0), "");
        }
    }

    /// @dev Of a class that doesn't exist nobody has anything to send, not even nothing.
    function testFuzz_RevertWhen_SendingOfAnUnknownClass(uint256 id) public {
        if (id <= credits.classCount()) id = 0;
        _expect(IComputeCredits.ComputeCredits_AccountBound.selector, id, bob.addr, alice.addr);
        _send(alice.addr, bob.addr, id, 0);
    }

    function test_RevertWhen_NobodySends() public {
        bytes memory reason = abi.encodeWithSelector(IERC1155Errors.ERC1155InvalidSender.selector, address(0));
        vm.expectRevert(reason);
        _send(address(0), alice.addr, plain, 0);
        vm.expectRevert(reason);
        _sendBatch(address(0), alice.addr, plain, 0, plain, 0);
    }

    /// @dev One id that may not move stops the whole batch.
    function testFuzz_RevertWhen_OneOfABatchIsBound(uint96 held) public {
        uint256 free = _granted(_grantTerms(), alice.addr, held);
        ClassTerms memory terms = _grantTerms();
        terms.transferable = false;
        uint256 bound_ = _granted(terms, alice.addr, held);
        _expect(IComputeCredits.ComputeCredits_AccountBound.selector, bound_, bob.addr, alice.addr);
        _sendBatch(alice.addr, bob.addr, free, held, bound_, held);
        _assertCredits(bob.addr, free, 0, "nothing arrived");
    }

    /// @dev The market's right to move locks is the contract's own, not an approval anybody could use.
    function testFuzz_RevertWhen_TheMarketUsesTheTransferFunction(uint96 held) public {
        uint256 id = _granted(_grantTerms(), alice.addr, held);
        vm.expectRevert(
            abi.encodeWithSelector(IERC1155Errors.ERC1155MissingApprovalForAll.selector, address(market), alice.addr)
        );
        vm.prank(address(market));
        credits.safeTransferFrom(alice.addr, bob.addr, id, held, "");
    }

    /// @dev A batch that names one id twice is counted as a whole.
    function testFuzz_RevertWhen_ABatchGoesOverTheCapInTwoParts(uint96 cap, uint96 has, uint96 first) public {
        ClassTerms memory terms = _grantTerms();
        cap = uint96(bound(cap, 2, type(uint96).max / 2));
        terms.maxPerHolder = cap;
        uint256 id = _granted(terms, alice.addr, cap);
        has = uint96(bound(has, 1, cap - 1));
        _grant(bob.addr, id, has);
        first = uint96(bound(first, 0, cap - has));
        uint96 second = cap - has - first + 1;
        _expect(IComputeCredits.ComputeCredits_HolderCap.selector, id, uint256(cap) + 1, cap);
        _sendBatch(alice.addr, bob.addr, id, first, id, second);
    }

    function testFuzz_RevertWhen_BatchLengthsDiffer(uint8 ids, uint8 values) public {
        vm.assume(ids != values);
        vm.expectRevert(abi.encodeWithSelector(IERC1155Errors.ERC1155InvalidArrayLength.selector, ids, values));
        vm.prank(alice.addr);
        credits.safeBatchTransferFrom(alice.addr, bob.addr, new uint256[](ids), new uint256[](values), "");
    }

    /* SUCCESS */

    function testFuzz_Transfer(address to, uint96 held, uint96 units) public {
        _assumeStranger(to);
        uint256 id = _granted(_grantTerms(), alice.addr, held);
        units = uint96(bound(units, 0, held));
        vm.expectEmit(address(credits));
        emit IERC1155.TransferSingle(alice.addr, alice.addr, to, id, units);
        _send(alice.addr, to, id, units);
        _assertCredits(alice.addr, id, held - units, "sender");
        _assertCredits(to, id, units, "receiver");
        assertEq(credits.totalSupply(id), held, "supply");
    }

    function testFuzz_TransferBatch(uint96 held, uint96 first, uint96 second) public {
        uint256 a = _granted(_grantTerms(), alice.addr, held);
        uint256 b = _granted(_grantTerms(), alice.addr, held);
        first = uint96(bound(first, 0, held));
        second = uint96(bound(second, 0, held));
        (uint256[] memory ids, uint256[] memory values) = _pair(a, first, b, second);
        vm.expectEmit(address(credits));
        emit IERC1155.TransferBatch(alice.addr, alice.addr, bob.addr, ids, values);
        _sendBatch(alice.addr, bob.addr, a, first, b, second);
        _assertCredits(bob.addr, a, first, "first");
        _assertCredits(bob.addr, b, second, "second");
        _assertCredits(alice.addr, a, held - first, "first left");
        _assertCredits(alice.addr, b, held - second, "second left");
    }

    /// @dev Named twice, a class is sent twice.
    function testFuzz_TransferBatch_OfOneClassTwice(uint96 held, uint96 first, uint96 second) public {
        uint256 id = _granted(_grantTerms(), alice.addr, held);
        first = uint96(bound(first, 0, held));
        second = uint96(bound(second, 0, held - first));
        _sendBatch(alice.addr, bob.addr, id, first, id, second);
        _assertCredits(bob.addr, id, uint256(first) + second, "receiver");
        _assertCredits(alice.addr, id, uint256(held) - first - second, "sender");
    }

    function testFuzz_RevertWhen_ABatchSendsMoreThanHeldInTwoParts(uint96 held, uint96 first, uint256 second) public {
        uint256 id = _granted(_grantTerms(), alice.addr, held);
        first = uint96(bound(first, 0, held));
        uint256 left = held - first;
        second = bound(second, left + 1, type(uint256).max);
        vm.expectRevert(
            abi.encodeWithSelector(IERC1155Errors.ERC1155InsufficientBalance.selector, alice.addr, left, second, id)
        );
        _sendBatch(alice.addr, bob.addr, id, first, id, second);
    }

    /// @dev Nothing of a class never held before: the event of the standard, and nothing else.
    function test_Transfer_OfNothing() public {
        vm.expectEmit(address(credits));
        emit IERC1155.TransferSingle(alice.addr, alice.addr, bob.addr, plain, 0);
        _send(alice.addr, bob.addr, plain, 0);
        _assertCredits(bob.addr, plain, 0, "receiver");
    }

    function testFuzz_Transfer_ToOneself(uint96 held, uint96 units) public {
        uint256 id = _granted(_grantTerms(), alice.addr, held);
        units = uint96(bound(units, 0, held));
        vm.expectEmit(address(credits));
        emit IERC1155.TransferSingle(alice.addr, alice.addr, alice.addr, id, units);
        _send(alice.addr, alice.addr, id, units);
        _sendBatch(alice.addr, alice.addr, id, units, id, units);
        _assertCredits(alice.addr, id, held, "unchanged");
        assertEq(credits.totalSupply(id), held, "supply");
    }

    function testFuzz_TransferBatch_OfOne(uint96 held) public {
        uint256 id = _granted(_grantTerms(), alice.addr, held);
        (uint256[] memory ids, uint256[] memory values) = (new uint256[](1), new uint256[](1));
        (ids[0], values[0]) = (id, held);
        vm.expectEmit(address(credits));
        emit IERC1155.TransferSingle(alice.addr, alice.addr, bob.addr, id, held);
        vm.prank(alice.addr);
        credits.safeBatchTransferFrom(alice.addr, bob.addr, ids, values, "");
        _assertCredits(bob.addr, id, held, "receiver");
    }

    function testFuzz_Transfer_ByAnApprovedOperator(uint96 held) public {
        uint256 id = _granted(_grantTerms(), alice.addr, held);
        vm.prank(alice.addr);
        credits.setApprovalForAll(anyone, true);
        vm.prank(anyone);
        credits.safeTransferFrom(alice.addr, bob.addr, id, held, "");
        _assertCredits(bob.addr, id, held, "receiver");
    }

    /// @dev Closing ends sales; holders still own what they bought.
    function testFuzz_Transfer_OfAClosedClassInItsLastSecond(uint96 held) public {
        ClassTerms memory terms = _grantTerms();
        terms.expiry = uint40(START + 1 days);
        uint256 id = _granted(terms, alice.addr, held);
        _close(id);
        vm.warp(terms.expiry);
        _send(alice.addr, bob.addr, id, held);
        _assertCredits(bob.addr, id, held, "receiver");
    }

    function testFuzz_Transfer_UpToTheCap(uint96 cap, uint96 has) public {
        ClassTerms memory terms = _grantTerms();
        cap = uint96(bound(cap, 1, type(uint96).max / 2));
        terms.maxPerHolder = cap;
        uint256 id = _granted(terms, alice.addr, cap);
        has = uint96(bound(has, 0, cap));
        _grant(bob.addr, id, has);
        _send(alice.addr, bob.addr, id, cap - has);
        _assertCredits(bob.addr, id, cap, "receiver at the cap");
    }

    function testFuzz_Transfer_ToOneselfAtTheCap(uint96 cap) public {
        ClassTerms memory terms = _grantTerms();
        cap = uint96(bound(cap, 1, type(uint96).max));
        terms.maxPerHolder = cap;
        uint256 id = _granted(terms, alice.addr, cap);
        _send(alice.addr, alice.addr, id, cap);
        _assertCredits(alice.addr, id, cap, "unchanged");
    }

    function testFuzz_Transfer_ToAnEligibleAccount(uint96 held) public {
        (AllowList list, uint256 id) = _listedClass(held);
        list.allow(bob.addr);
        list.forbid(alice.addr);
        _send(alice.addr, bob.addr, id, held);
        _assertCredits(bob.addr, id, held, "who may no longer hold may still give away");
    }

    /* HELPERS */

    function _granted(ClassTerms memory terms, address to, uint256 units) private returns (uint256 id) {
        id = _createClass(terms);
        _grant(to, id, units);
    }

    function _grant(address to, uint256 id, uint256 units) private {
        vm.prank(issuer.addr);
        credits.grant(to, id, units);
    }

    /// @dev A class with an allow list that has alice on it, and alice holding `held`.
    function _listedClass(uint256 held) private returns (AllowList list, uint256 id) {
        list = new AllowList();
        list.allow(alice.addr);
        ClassTerms memory terms = _grantTerms();
        terms.eligibility = address(list);
        id = _granted(terms, alice.addr, held);
    }

    function _send(address from, address to, uint256 id, uint256 units) private {
        vm.prank(from);
        credits.safeTransferFrom(from, to, id, units, "");
    }

    function _sendBatch(address from, address to, uint256 a, uint256 unitsA, uint256 b, uint256 unitsB) private {
        (uint256[] memory ids, uint256[] memory values) = _pair(a, unitsA, b, unitsB);
        vm.prank(from);
        credits.safeBatchTransferFrom(from, to, ids, values, "");
    }

    function _pair(uint256 a, uint256 unitsA, uint256 b, uint256 unitsB)
        private
        pure
        returns (uint256[] memory ids, uint256[] memory values)
    {
        (ids, values) = (new uint256[](2), new uint256[](2));
        (ids[0], ids[1]) = (a, b);
        (values[0], values[1]) = (unitsA, unitsB);
    }
}
