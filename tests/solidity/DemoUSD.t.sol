// SPDX-License-Identifier: MIT
pragma solidity ^0.8.30;

import {IERC20Metadata} from "@openzeppelin/contracts/token/ERC20/extensions/IERC20Metadata.sol";
import {IERC3009} from "contracts/interfaces/IERC3009.sol";
import {Base} from "./Base.t.sol";
import {IDemoUSD} from "./support/IDemoUSD.sol";

/// @dev The demo token's ERC-3009, of which the reserve uses one function.
contract DemoUSDTest is Base {
    bytes32 private constant TRANSFER_TYPEHASH = keccak256(
        "TransferWithAuthorization(address from,address to,uint256 value,uint256 validAfter,uint256 validBefore,bytes32 nonce)"
    );
    bytes32 private constant CANCEL_TYPEHASH = keccak256("CancelAuthorization(address authorizer,bytes32 nonce)");
    bytes32 private constant NONCE = keccak256("nonce");

    function testFuzz_RevertWhen_TransferSignedByAnother(uint256 seed, uint128 value) public {
        bytes32 digest = _transferDigest(bob.addr, value);
        bytes memory signature = _sign(makeAccount(vm.toString(seed)), digest);
        _expectBadSignature(digest);
        _transfer(bob.addr, value, signature);
    }

    function testFuzz_RevertWhen_TransferRedirected(address to, uint128 value) public {
        vm.assume(to != bob.addr);
        bytes memory signature = _sign(alice, _transferDigest(bob.addr, value));
        _expectBadSignature(_transferDigest(to, value));
        _transfer(to, value, signature);
    }

    function testFuzz_RevertWhen_CancelSignedByAnother(uint256 seed) public {
        bytes32 digest = _cancelDigest();
        bytes memory signature = _sign(makeAccount(vm.toString(seed)), digest);
        _expectBadSignature(digest);
        _cancel(signature);
    }

    function testFuzz_RevertWhen_TransferWasCancelled(uint128 value) public {
        bytes memory signature = _sign(alice, _transferDigest(bob.addr, value));
        vm.expectEmit(address(usd));
        emit IERC3009.AuthorizationCanceled(alice.addr, NONCE);
        _cancel(_sign(alice, _cancelDigest()));
        _expectUsed();
        _transfer(bob.addr, value, signature);
    }

    function testFuzz_TransferWithAuthorization(uint128 value) public {
        usd.mint(alice.addr, value);
        assertFalse(usd.authorizationState(alice.addr, NONCE), "unused");
        bytes memory signature = _sign(alice, _transferDigest(bob.addr, value));
        vm.expectEmit(address(usd));
        emit IERC3009.AuthorizationUsed(alice.addr, NONCE);
        _transfer(bob.addr, value, signature);
        assertEq(usd.balanceOf(bob.addr), value, "receiver");
        assertEq(usd.balanceOf(alice.addr), 0, "sender");
        assertTrue(usd.authorizationState(alice.addr, NONCE), "used");
        bytes memory cancellation = _sign(alice, _cancelDigest());
        _expectUsed();
        _transfer(bob.addr, value, signature);
        _expectUsed();
        _cancel(cancellation);
    }

    function test_Metadata() public view {
        IERC20Metadata token = IERC20Metadata(address(usd));
        assertEq(token.decimals(), 6, "decimals");
        assertEq(token.symbol(), "dUSD", "symbol");
        assertEq(token.name(), "Demo USD", "name");
    }

    /* HELPERS */

    function _transfer(address to, uint256 value, bytes memory signature) private {
        (uint8 v, bytes32 r, bytes32 s) = _split(signature);
        vm.prank(anyone);
        usd.transferWithAuthorization(alice.addr, to, value, 0, type(uint256).max, NONCE, v, r, s);
    }

    function _cancel(bytes memory signature) private {
        (uint8 v, bytes32 r, bytes32 s) = _split(signature);
        usd.cancelAuthorization(alice.addr, NONCE, v, r, s);
    }

    function _split(bytes memory signature) private pure returns (uint8 v, bytes32 r, bytes32 s) {
        (r, s) = abi.decode(bytes.concat(signature, new bytes(31)), (bytes32, bytes32));
        v = uint8(signature[64]);
    }

    function _transferDigest(address to, uint256 value) private view returns (bytes32) {
        return
            _digest(
                keccak256(abi.encode(TRANSFER_TYPEHASH, alice.addr, to, value, uint256(0), type(uint256).max, NONCE))
            );
    }

    function _cancelDigest() private view returns (bytes32) {
        return _digest(keccak256(abi.encode(CANCEL_TYPEHASH, alice.addr, NONCE)));
    }

    function _digest(bytes32 structHash) private view returns (bytes32) {
        return keccak256(abi.encodePacked("\x19\x01", usd.DOMAIN_SEPARATOR(), structHash));
    }

    function _expectUsed() private {
        vm.expectRevert(abi.encodeWithSelector(IDemoUSD.DemoUSD_AuthorizationUsed.selector, alice.addr, NONCE, NONCE));
    }

    function _expectBadSignature(bytes32 digest) private {
        vm.expectRevert(abi.encodeWithSelector(IDemoUSD.DemoUSD_BadSignature.selector, alice.addr, digest, bytes32(0)));
    }
}
