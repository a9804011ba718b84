// SPDX-License-Identifier: MIT
pragma solidity ^0.8.30;

import {ERC165, IERC165} from "@openzeppelin/contracts/utils/introspection/ERC165.sol";
import {IERC1155} from "@openzeppelin/contracts/token/ERC1155/IERC1155.sol";
import {IERC1155Receiver} from "@openzeppelin/contracts/token/ERC1155/IERC1155Receiver.sol";

/// @dev Takes credits, or refuses them in one of the ways a contract can; remembers what it was told.
contract Receiver is ERC165, IERC1155Receiver {
    enum Answer {
        Accept,
        Wrong,
        OtherHook,
        CustomError,
        NoReason
    }

    event Told(address token, uint256 balance);

    error Receiver_Refused(uint256 id);

    Answer private _answer;
    address private _forwardTo;
    /// @dev How often each hook was called, and the arguments of the last call.
    uint256 public singles;
    uint256 public batches;
    bytes public told;

    function answer(Answer given) external {
        _answer = given;
    }

    /// @dev Sends on what it gets, from inside the hook.
    function forward(address to) external {
        _forwardTo = to;
    }

    function onERC1155Received(address operator, address from, uint256 id, uint256 value, bytes calldata data)
        external
        returns (bytes4)
    {
        ++singles;
        told = abi.encode(operator, from, id, value, data);
        emit Told(msg.sender, IERC1155(msg.sender).balanceOf(address(this), id));
        if (_forwardTo != address(0)) {
            IERC1155(msg.sender).safeTransferFrom(address(this), _forwardTo, id, value, data);
        }
        return _reply(id, this.onERC1155Received.selector, this.onERC1155BatchReceived.selector);
    }

    function onERC1155BatchReceived(
        address operator,
        address from,
        uint256[] calldata ids,
        uint256[] calldata values,
        bytes calldata data
    ) external returns (bytes4) {
        ++batches;
        told = abi.encode(operator, from, ids, values, data);
        uint256 id = ids.length == 0 ? 0 : ids[ids.length - 1];
        emit Told(msg.sender, IERC1155(msg.sender).balanceOf(address(this), id));
        return _reply(id, this.onERC1155BatchReceived.selector, this.onERC1155Received.selector);
    }

    function supportsInterface(bytes4 id) public view override(ERC165, IERC165) returns (bool) {
        return id == type(IERC1155Receiver).interfaceId || super.supportsInterface(id);
    }

    function _reply(uint256 id, bytes4 magic, bytes4 other) private view returns (bytes4) {
        if (_answer == Answer.Wrong) return 0xffffffff;
        if (_answer == Answer.OtherHook) return other;
        if (_answer == Answer.CustomError) revert Receiver_Refused(id);
        if (_answer == Answer.NoReason) {
            assembly ("memory-safe") {
                revert(0, 0)
            }
        }
        return magic;
    }
}

/// @dev A contract that takes every call and answers nothing, as many wallets for plain ether do.
contract Mute {
    fallback() external {}
}
