// SPDX-License-Identifier: MIT
pragma solidity ^0.8.30;

import {Strings} from "@openzeppelin/contracts/utils/Strings.sol";

/// @title Any bytes as the inside of a JSON string.
/// @dev JSON is UTF-8. Text in any language stays as it is; a byte that is no part of valid UTF-8 becomes U+FFFD, as
/// browsers and databases do, because one such byte would make the whole document unreadable.
library JsonText {
    bytes3 private constant REPLACEMENT = 0xefbfbd;

    function escape(bytes memory text) internal pure returns (string memory) {
        return Strings.escapeJSON(string(_repair(text)));
    }

    function _repair(bytes memory text) private pure returns (bytes memory out) {
        // At most three bytes for one; shortened to what was written below.
        out = new bytes(3 * text.length);
        uint256 length;
        for (uint256 i; i < text.length;) {
            uint256 size = _sizeAt(text, i);
            if (size == 0) {
                for (uint256 j; j < 3; ++j) {
                    out[length++] = REPLACEMENT[j];
                }
                ++i;
            }
            for (; size != 0; --size) {
                out[length++] = text[i++];
            }
        }
        assembly ("memory-safe") {
            mstore(out, length)
        }
    }

    /// @dev Bytes of the character that begins at `i`; zero if none does. Table 3-7 of the Unicode standard: no overlong
    /// forms, no surrogates, nothing above U+10FFFF.
    function _sizeAt(bytes memory text, uint256 i) private pure returns (uint256 size) {
        uint256 lead = uint8(text[i]);
        if (lead < 0x80) return 1;
        if (lead < 0xc2 || lead > 0xf4) return 0;
        size = lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : 4;
        if (i + size > text.length) return 0;
        uint256 second = uint8(text[i + 1]);
        if (second < _leastSecond(lead) || second > _greatestSecond(lead)) return 0;
        for (uint256 j = 2; j < size; ++j) {
            if (text[i + j] & 0xc0 != 0x80) return 0;
        }
    }

    function _leastSecond(uint256 lead) private pure returns (uint256) {
        if (lead == 0xe0) return 0xa0;
        return lead == 0xf0 ? 0x90 : 0x80;
    }

    function _greatestSecond(uint256 lead) private pure returns (uint256) {
        if (lead == 0xed) return 0x9f;
        return lead == 0xf4 ? 0x8f : 0xbf;
    }
}
