// SPDX-License-Identifier: MIT
pragma solidity ^0.8.30;

import {IERC1271} from "@openzeppelin/contracts/interfaces/IERC1271.sol";

/// @dev Session keys that are contracts and wrong: whatever they are asked, they do one bad thing. None of them tells the
/// caller what it asked for, so any call reaches the fallback.

/// @dev Burns all the gas it gets.
contract BurningKey {
    fallback() external {
        assembly ("memory-safe") {
            invalid()
        }
    }
}

/// @dev Fails, but with the word that would have been a yes.
contract RevertingKey {
    fallback() external {
        bytes32 word = bytes32(IERC1271.isValidSignature.selector);
        assembly ("memory-safe") {
            mstore(0, word)
            revert(0, 32)
        }
    }
}

/// @dev Answers the same bytes to everything.
contract AnsweringKey {
    bytes private _answer;

    constructor(bytes memory answer) {
        _answer = answer;
    }

    fallback(bytes calldata) external returns (bytes memory) {
        return _answer;
    }
}

/// @dev Answers with `word` and many bytes behind it.
contract FloodingKey {
    bytes32 private immutable _WORD;
    uint256 private immutable _SIZE;

    constructor(bytes32 word, uint256 size) {
        (_WORD, _SIZE) = (word, size);
    }

    fallback() external {
        (bytes32 word, uint256 size) = (_WORD, _SIZE);
        assembly ("memory-safe") {
            mstore(0, word)
            return(0, size)
        }
    }
}

/// @dev Agrees, as an honest wallet that does much work first, for about `work` gas.
contract BusyKey {
    uint256 private immutable _WORK;

    constructor(uint256 work) {
        _WORK = work;
    }

    function isValidSignature(bytes32, bytes calldata) external view returns (bytes4) {
        uint256 start = gasleft();
        while (start - gasleft() < _WORK) {}
        return this.isValidSignature.selector;
    }
}
