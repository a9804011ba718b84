// SPDX-License-Identifier: MIT
pragma solidity ^0.8.30;

import {IERC1271} from "@openzeppelin/contracts/interfaces/IERC1271.sol";
import {ERC20} from "@openzeppelin/contracts/token/ERC20/ERC20.sol";
import {ERC1155Holder} from "@openzeppelin/contracts/token/ERC1155/utils/ERC1155Holder.sol";

/// @dev What a hostile party does when it is called.
enum Trick {
    None,
    Refuse,
    BurnGas,
    AnswerAtLength,
    CallBack
}

abstract contract Trickster {
    error Trickster_Refused();

    Trick internal _trick;
    address private _target;
    bytes private _call;

    function play(Trick trick) external {
        _trick = trick;
    }

    /// @dev What to call from inside; what that reverts with is passed on.
    function callBack(address target, bytes calldata call) external {
        (_trick, _target, _call) = (Trick.CallBack, target, call);
    }

    function _act() internal {
        if (_trick == Trick.CallBack) {
            (bool ok, bytes memory answer) = _target.call(_call);
            if (!ok) _revertWith(answer, answer.length);
        } else {
            _actQuietly();
        }
    }

    function _actQuietly() internal view {
        if (_trick == Trick.Refuse) revert Trickster_Refused();
        if (_trick == Trick.AnswerAtLength) _revertWith("", 100_000);
        while (_trick == Trick.BurnGas) {}
    }

    function _revertWith(bytes memory answer, uint256 length) private pure {
        assembly ("memory-safe") {
            revert(add(answer, 32), length)
        }
    }
}

/// @dev A contract that signs everything, or plays its trick instead.
contract TrickSigner is Trickster, IERC1271, ERC1155Holder {
    function isValidSignature(bytes32, bytes calldata) external view returns (bytes4) {
        _actQuietly();
        return IERC1271.isValidSignature.selector;
    }
}

/// @dev A contract that signs everything and plays its trick when it receives credits.
contract TrickReceiver is Trickster, IERC1271, ERC1155Holder {
    function isValidSignature(bytes32, bytes calldata) external pure returns (bytes4) {
        return IERC1271.isValidSignature.selector;
    }

    function onERC1155Received(address, address, uint256, uint256, bytes memory) public override returns (bytes4) {
        _act();
        return this.onERC1155Received.selector;
    }
}

/// @dev A token that plays its trick when it moves.
contract TrickToken is Trickster, ERC20 {
    constructor() ERC20("Trick", "TRK") {}

    function mint(address to, uint256 amount) external {
        _mint(to, amount);
    }

    function transferFrom(address from, address to, uint256 amount) public override returns (bool) {
        _act();
        return super.transferFrom(from, to, amount);
    }
}
