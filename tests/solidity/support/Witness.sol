// SPDX-License-Identifier: MIT
pragma solidity ^0.8.30;

/// @dev Receives ERC-1155 tokens knowing nothing but the calls themselves: logs what it was called with, and what the
/// token then says of the balances it was told to look at, and answers any bytes it was given.
contract Witness {
    event Called(bytes data);
    event Saw(uint256 balance);

    struct Look {
        address account;
        uint256 id;
    }

    Look[] private _looks;
    bytes private _answer;
    bool private _answers;
    bool private _reverts;

    function look(address account, uint256 id) external {
        _looks.push(Look(account, id));
    }

    /// @dev Without an answer of its own it gives the selector it was called with: the magic value of either hook.
    function answer(bytes calldata given, bool reverts) external {
        (_answer, _answers, _reverts) = (given, true, reverts);
    }

    // solhint-disable-next-line no-complex-fallback
    fallback() external {
        emit Called(msg.data);
        for (uint256 i; i < _looks.length; ++i) {
            (bool done, bytes memory result) = msg.sender
                .staticcall(abi.encodeWithSignature("balanceOf(address,uint256)", _looks[i].account, _looks[i].id));
            require(done, "no balance");
            emit Saw(abi.decode(result, (uint256)));
        }
        bytes memory given = _answers ? _answer : abi.encode(bytes4(msg.data));
        bool reverts = _reverts;
        assembly ("memory-safe") {
            if reverts {
                revert(add(given, 32), mload(given))
            }
            return(add(given, 32), mload(given))
        }
    }
}
