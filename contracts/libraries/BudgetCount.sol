// SPDX-License-Identifier: MIT
pragma solidity ^0.8.30;

/// @dev What a budget counts, in one word: `left` of its lifetime (96 bits), `periodLeft` in period `periodIndex` (104 bits
/// with a sign, negative once the cap is lowered below what the period has taken; 40 bits), `depth` (8 bits). A word is
/// never zero, thanks to the depth, so that no charge pays for a fresh slot.
type BudgetCount is uint256;

using BudgetCounts for BudgetCount global;

/// @title Packs and unpacks a `BudgetCount`.
/// @dev A struct would be written field by field: 400 gas more for each level of a charge.
library BudgetCounts {
    /// @dev Takes each value to fit its field, which its type doesn't say.
    function pack(uint256 left_, int256 periodLeft_, uint256 periodIndex_, uint256 depth_)
        internal
        pure
        returns (BudgetCount)
    {
        return
            BudgetCount.wrap(left_ | uint256(uint104(int104(periodLeft_))) << 96 | periodIndex_ << 200 | depth_ << 240);
    }

    function withLeft(BudgetCount count, uint256 left_) internal pure returns (BudgetCount) {
        return BudgetCount.wrap(BudgetCount.unwrap(count) >> 96 << 96 | left_);
    }

    function left(BudgetCount count) internal pure returns (uint256) {
        return uint96(BudgetCount.unwrap(count));
    }

    function periodLeft(BudgetCount count) internal pure returns (int256) {
        return int104(uint104(BudgetCount.unwrap(count) >> 96));
    }

    function periodIndex(BudgetCount count) internal pure returns (uint256) {
        return uint40(BudgetCount.unwrap(count) >> 200);
    }

    function depth(BudgetCount count) internal pure returns (uint256) {
        return BudgetCount.unwrap(count) >> 240;
    }
}
