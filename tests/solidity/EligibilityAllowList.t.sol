// SPDX-License-Identifier: MIT
pragma solidity ^0.8.30;

import {Ownable} from "@openzeppelin/contracts/access/Ownable.sol";
import {Ownable2Step} from "@openzeppelin/contracts/access/Ownable2Step.sol";
import {IAllowListEligibility} from "contracts/interfaces/IAllowListEligibility.sol";
import {IComputeCredits} from "contracts/interfaces/IComputeCredits.sol";
import {ClassTerms} from "contracts/interfaces/Types.sol";
import {Base} from "./Base.t.sol";

/// @dev AllowListEligibility, alone and as the rule of a class.
contract EligibilityAllowListTest is Base {
    uint256 private constant MAX_ACCOUNTS = 256;

    IAllowListEligibility private list;
    address private owner = makeAddr("owner");

    function setUp() public override {
        super.setUp();
        list = IAllowListEligibility(deployCode("AllowListEligibility.sol:AllowListEligibility", abi.encode(owner)));
    }

    /* REVERTS */

    function testFuzz_RevertWhen_CallerIsNotTheOwner(address caller, bool eligible) public {
        vm.assume(caller != owner);
        vm.expectRevert(abi.encodeWithSelector(Ownable.OwnableUnauthorizedAccount.selector, caller));
        vm.prank(caller);
        list.set(_one(alice.addr), eligible);
    }

    function test_RevertWhen_ListIsEmpty() public {
        _expect(IAllowListEligibility.AllowListEligibility_BadBatch.selector, uint256(0), uint256(0), uint256(1));
        _set(new address[](0), true);
    }

    function testFuzz_RevertWhen_ListIsTooLong(uint256 more) public {
        uint256 count = MAX_ACCOUNTS + bound(more, 1, 100);
        _expect(IAllowListEligibility.AllowListEligibility_BadBatch.selector, uint256(0), count, MAX_ACCOUNTS);
        _set(new address[](count), true);
    }

    function test_RevertWhen_OwnerIsNobody() public {
        bytes memory code = vm.getCode("AllowListEligibility.sol:AllowListEligibility");
        vm.expectRevert(abi.encodeWithSelector(Ownable.OwnableInvalidOwner.selector, address(0)));
        _create(bytes.concat(code, abi.encode(address(0))));
    }

    function testFuzz_RevertWhen_BuyerIsNotListed(address buyer) public {
        _assumeStranger(buyer);
        uint256 id = _classOfListed();
        uint256 cost = reserve.costOf(id, 1_000);
        _fund(buyer, cost);
        _expect(IComputeCredits.ComputeCredits_NotEligible.selector, id, buyer, address(list));
        vm.prank(buyer);
        reserve.buy(id, 1_000, buyer, cost);
    }

    function testFuzz_RevertWhen_ReceiverWasTakenOff(uint128 units) public {
        uint256 id = _classOfListed();
        _set(_one(alice.addr), true);
        _set(_one(bob.addr), true);
        units = uint128(bound(units, 1, MAX_UNITS));
        _buy(alice.addr, id, units);
        _set(_one(bob.addr), false);
        _expect(IComputeCredits.ComputeCredits_NotEligible.selector, id, bob.addr, address(list));
        vm.prank(alice.addr);
        credits.safeTransferFrom(alice.addr, bob.addr, id, units, "");
    }

    /* SUCCESS */

    function testFuzz_Set(address account, address other, uint256 classId, bool eligible) public {
        vm.assume(account != other);
        assertFalse(list.isEligible(account, classId), "nobody at first");
        vm.expectEmit(address(list));
        emit IAllowListEligibility.EligibilitySet(account, eligible);
        _set(_one(account), eligible);
        assertEq(list.isEligible(account, classId), eligible, "listed");
        assertFalse(list.isEligible(other, classId), "another account");
        _set(_one(account), false);
        assertFalse(list.isEligible(account, classId), "taken off");
    }

    function testFuzz_Set_Many(uint256 count, uint256 seed) public {
        count = bound(count, 1, MAX_ACCOUNTS);
        address[] memory accounts = new address[](count);
        for (uint256 i; i < count; ++i) {
            accounts[i] = address(uint160(uint256(keccak256(abi.encode(seed, i)))));
            vm.expectEmit(address(list));
            emit IAllowListEligibility.EligibilitySet(accounts[i], true);
        }
        _set(accounts, true);
        for (uint256 i; i < count; ++i) {
            assertTrue(list.isEligible(accounts[i], plain), "listed");
        }
    }

    /// @dev Being taken off stops what comes in, not what goes out.
    function testFuzz_TakenOff_KeepsAndMovesWhatItHolds(uint128 units) public {
        uint256 id = _classOfListed();
        _set(_one(alice.addr), true);
        _set(_one(bob.addr), true);
        units = uint128(bound(units, 1, MAX_UNITS));
        _buy(alice.addr, id, units);
        _set(_one(alice.addr), false);
        vm.prank(alice.addr);
        credits.safeTransferFrom(alice.addr, bob.addr, id, units, "");
        _assertCredits(bob.addr, id, units, "passed on");
    }

    function testFuzz_Ownership_PassesInTwoSteps(address next) public {
        vm.assume(next != address(0) && next != owner);
        vm.prank(owner);
        Ownable2Step(address(list)).transferOwnership(next);
        _set(_one(alice.addr), true);
        vm.prank(next);
        Ownable2Step(address(list)).acceptOwnership();
        vm.prank(next);
        list.set(_one(alice.addr), false);
        assertFalse(list.isEligible(alice.addr, plain), "the new owner's word");
        vm.expectRevert(abi.encodeWithSelector(Ownable.OwnableUnauthorizedAccount.selector, owner));
        _set(_one(alice.addr), true);
    }

    /* HELPERS */

    function _classOfListed() private returns (uint256) {
        ClassTerms memory terms = _saleTerms();
        terms.eligibility = address(list);
        return _createClass(terms);
    }

    function _set(address[] memory accounts, bool eligible) private {
        vm.prank(owner);
        list.set(accounts, eligible);
    }
}
