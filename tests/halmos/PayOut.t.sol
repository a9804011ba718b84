// SPDX-License-Identifier: MIT
pragma solidity ^0.8.30;

import {ICreditReserve} from "contracts/interfaces/ICreditReserve.sol";
import {Symbolic} from "./Symbolic.sol";

/// @dev Where a pay-out goes. How it is rounded is a quotient of unknowns, on which solvers work for hours even at 8 bits:
/// tests/solidity/CreditReserveRounding.t.sol tries every case up to a width instead, and fuzzed tests the full one.
contract PayOutCheck is Symbolic {
    uint256 private constant CLASS = 1;
    address private constant PROVIDER = address(0x9607);
    // Where the contract keeps its pools.
    uint256 private constant POOLS = 5;
    ICreditReserve private reserve;

    function setUp() public {
        reserve = ICreditReserve(
            _deployInAnyState("CreditReserve", abi.encode(_system(), ADMIN, ADMIN_DELAY, ROLE_DELAY, address(0)))
        );
    }

    /// @dev The last units take the last of the backing: nothing is stuck.
    function check_payOut_ofTheWholeSupplyLeavesNothing(uint16 backing, uint16 supply) public {
        vm.assume(supply != 0);
        assert(_payOut(backing, supply, supply) == backing);
        assert(reserve.backingOf(CLASS) == 0);
    }

    /// @dev What is paid is what the provider earns, and no other class pays for it.
    function check_payOut_movesWhatItPays(uint96 backing, uint96 units, uint96 supply, uint256 other) public {
        vm.assume(other != CLASS && supply != 0 && units <= supply);
        uint256 apart = reserve.backingOf(other);
        uint256 earned = reserve.earningsOf(PROVIDER, TOKEN);
        uint256 amount = _payOut(backing, units, supply);
        assert(reserve.earningsOf(PROVIDER, TOKEN) == earned + amount);
        assert(reserve.backingOf(other) == apart);
    }

    /// @dev Writes the backing where the contract keeps it, so that the solver knows its width.
    function _payOut(uint256 backing, uint256 units, uint256 supply) private returns (uint256) {
        bytes32 pool = bytes32(backing << 160 | uint160(TOKEN));
        vm.store(address(reserve), keccak256(abi.encode(CLASS, POOLS)), pool);
        assert(reserve.backingOf(CLASS) == backing);
        vm.prank(MARKET);
        return reserve.creditEarningsOnBurn(CLASS, PROVIDER, units, supply);
    }
}
