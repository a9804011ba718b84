// SPDX-License-Identifier: MIT
pragma solidity ^0.8.30;

import {IERC1271} from "@openzeppelin/contracts/interfaces/IERC1271.sol";
import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {ERC1155Holder} from "@openzeppelin/contracts/token/ERC1155/utils/ERC1155Holder.sol";
import {ICreditReserve} from "contracts/interfaces/ICreditReserve.sol";
import {IEligibility} from "contracts/interfaces/IEligibility.sol";
import {IJobMarket} from "contracts/interfaces/IJobMarket.sol";
import {JobTerms} from "contracts/interfaces/Types.sol";

/// @dev An eligibility contract: nobody until allowed.
contract AllowList is IEligibility {
    mapping(address account => bool) private _allowed;

    function allow(address account) external {
        _allowed[account] = true;
    }

    function forbid(address account) external {
        _allowed[account] = false;
    }

    function isEligible(address account, uint256) external view returns (bool) {
        return _allowed[account];
    }
}

/// @dev A contract account that agrees, by ERC-1271, to the digests its owner approved.
contract ContractWallet is IERC1271, ERC1155Holder {
    mapping(bytes32 digest => bool) private _approved;

    function approve(bytes32 digest) external {
        _approved[digest] = true;
    }

    function isValidSignature(bytes32 digest, bytes calldata) external view returns (bytes4) {
        return _approved[digest] ? IERC1271.isValidSignature.selector : bytes4(0xffffffff);
    }
}

/// @dev A buyer that acts from inside the ERC-1155 hook of its own purchase.
contract ReentrantBuyer is ERC1155Holder {
    ICreditReserve private immutable _RESERVE;
    IJobMarket private immutable _MARKET;
    bytes private _call;
    address private _target;
    /// @dev What the reserve said of the class while the hook ran.
    uint256 public backingSeen;

    constructor(ICreditReserve reserve, IJobMarket market) {
        (_RESERVE, _MARKET) = (reserve, market);
    }

    function buy(IERC20 token, uint256 classId, uint256 units, uint256 maxCost) external {
        token.approve(address(_RESERVE), type(uint256).max);
        _RESERVE.buy(classId, units, address(this), maxCost);
    }

    function onReceive(address target, bytes calldata call) external {
        (_target, _call) = (target, call);
    }

    function openOnReceive(JobTerms calldata terms) external {
        (_target, _call) = (address(_MARKET), abi.encodeCall(IJobMarket.open, (terms, "")));
    }

    function onERC1155Received(address, address, uint256 id, uint256, bytes memory) public override returns (bytes4) {
        backingSeen = _RESERVE.backingOf(id);
        (bool ok, bytes memory answer) = _target.call(_call);
        if (!ok) {
            assembly ("memory-safe") {
                revert(add(answer, 32), mload(answer))
            }
        }
        return this.onERC1155Received.selector;
    }
}
