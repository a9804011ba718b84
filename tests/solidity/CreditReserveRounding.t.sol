// SPDX-License-Identifier: MIT
pragma solidity ^0.8.30;

import {Base} from "./Base.t.sol";

/// @dev Every pay-out of a small class, one by one: what no solver proves of a quotient of three unknowns.
contract CreditReserveRoundingTest is Base {
    uint256 private constant MAX_SUPPLY = 24;
    uint256 private constant MAX_BACKING = 40;

    /// @dev `_pools` is the reserve's fifth slot; the backing lies above the token's address.
    uint256 private constant POOLS = 5;

    function test_PayOut_EveryCaseOfASmallClass() public {
        for (uint256 supply = 1; supply <= MAX_SUPPLY; ++supply) {
            for (uint256 units; units <= supply; ++units) {
                for (uint256 backing; backing <= MAX_BACKING; ++backing) {
                    _check(backing, units, supply);
                }
            }
        }
    }

    /// @dev Never more than the share, never a whole base unit less; what is left never backs a unit worse; the last unit
    /// takes the last of the backing.
    function _check(uint256 backing, uint256 units, uint256 supply) private {
        bytes32 pool = bytes32(backing << 160 | uint160(address(usd)));
        vm.store(address(reserve), keccak256(abi.encode(plain, POOLS)), pool);
        assertEq(reserve.backingOf(plain), backing, "backing before");
        vm.prank(address(market));
        uint256 amount = reserve.creditEarningsOnBurn(plain, provider.addr, units, supply);
        assertLe(amount * supply, backing * units, "rounded up");
        assertLt(backing * units, (amount + 1) * supply, "a base unit short");
        uint256 left = reserve.backingOf(plain);
        assertEq(left, backing - amount, "backing after");
        assertGe(left * supply, backing * (supply - units), "rate fell");
        if (units == supply) assertEq(left, 0, "stuck");
    }
}
