// SPDX-License-Identifier: MIT
pragma solidity ^0.8.30;

import {ERC20} from "@openzeppelin/contracts/token/ERC20/ERC20.sol";
import {ERC20Permit} from "@openzeppelin/contracts/token/ERC20/extensions/ERC20Permit.sol";
import {SignatureChecker} from "@openzeppelin/contracts/utils/cryptography/SignatureChecker.sol";
import {IERC3009} from "../interfaces/IERC3009.sol";

/// @title DemoUSD
/// @dev A valueless dollar for local chains and testnets: six decimals, ERC-2612, ERC-3009, and anyone may mint.
contract DemoUSD is ERC20, ERC20Permit, IERC3009 {
    bytes32 private constant TRANSFER_TYPEHASH = keccak256(
        "TransferWithAuthorization(address from,address to,uint256 value,uint256 validAfter,uint256 validBefore,bytes32 nonce)"
    );
    bytes32 private constant RECEIVE_TYPEHASH = keccak256(
        "ReceiveWithAuthorization(address from,address to,uint256 value,uint256 validAfter,uint256 validBefore,bytes32 nonce)"
    );
    bytes32 private constant CANCEL_TYPEHASH = keccak256("CancelAuthorization(address authorizer,bytes32 nonce)");

    error DemoUSD_NotPayee(address caller, address given, address limit);
    error DemoUSD_NotYetValid(address authorizer, uint256 given, uint256 limit);
    error DemoUSD_Expired(address authorizer, uint256 given, uint256 limit);
    error DemoUSD_AuthorizationUsed(address authorizer, bytes32 given, bytes32 limit);
    error DemoUSD_BadSignature(address authorizer, bytes32 given, bytes32 limit);

    mapping(address authorizer => mapping(bytes32 nonce => bool)) public authorizationState;

    constructor() ERC20("Demo USD", "dUSD") ERC20Permit("Demo USD") {}

    function mint(address to, uint256 amount) external {
        _mint(to, amount);
    }

    function decimals() public pure override returns (uint8) {
        return 6;
    }

    /// @inheritdoc IERC3009
    function transferWithAuthorization(
        address from,
        address to,
        uint256 value,
        uint256 validAfter,
        uint256 validBefore,
        bytes32 nonce,
        uint8 v,
        bytes32 r,
        bytes32 s
    ) external {
        _authorize(TRANSFER_TYPEHASH, from, to, value, validAfter, validBefore, nonce, abi.encodePacked(r, s, v));
        _transfer(from, to, value);
    }

    /// @inheritdoc IERC3009
    function receiveWithAuthorization(
        address from,
        address to,
        uint256 value,
        uint256 validAfter,
        uint256 validBefore,
        bytes32 nonce,
        uint8 v,
        bytes32 r,
        bytes32 s
    ) external {
        if (msg.sender != to) revert DemoUSD_NotPayee(msg.sender, msg.sender, to);
        _authorize(RECEIVE_TYPEHASH, from, to, value, validAfter, validBefore, nonce, abi.encodePacked(r, s, v));
        _transfer(from, to, value);
    }

    /// @inheritdoc IERC3009
    function cancelAuthorization(address authorizer, bytes32 nonce, uint8 v, bytes32 r, bytes32 s) external {
        _useNonce3009(authorizer, nonce);
        bytes32 digest = _hashTypedDataV4(keccak256(abi.encode(CANCEL_TYPEHASH, authorizer, nonce)));
        _checkSignature(authorizer, digest, abi.encodePacked(r, s, v));
        emit AuthorizationCanceled(authorizer, nonce);
    }

    function _authorize(
        bytes32 typehash,
        address from,
        address to,
        uint256 value,
        uint256 validAfter,
        uint256 validBefore,
        bytes32 nonce,
        bytes memory signature
    ) private {
        if (block.timestamp <= validAfter) {
            revert DemoUSD_NotYetValid(from, block.timestamp, validAfter);
        }
        if (block.timestamp >= validBefore) revert DemoUSD_Expired(from, block.timestamp, validBefore);
        _useNonce3009(from, nonce);
        bytes32 structHash = keccak256(abi.encode(typehash, from, to, value, validAfter, validBefore, nonce));
        _checkSignature(from, _hashTypedDataV4(structHash), signature);
        emit AuthorizationUsed(from, nonce);
    }

    function _useNonce3009(address authorizer, bytes32 nonce) private {
        if (authorizationState[authorizer][nonce]) revert DemoUSD_AuthorizationUsed(authorizer, nonce, nonce);
        authorizationState[authorizer][nonce] = true;
    }

    function _checkSignature(address signer, bytes32 digest, bytes memory signature) private view {
        if (!SignatureChecker.isValidSignatureNow(signer, digest, signature)) {
            revert DemoUSD_BadSignature(signer, digest, 0);
        }
    }
}
