// SPDX-License-Identifier: MIT
pragma solidity ^0.8.30;

import {ERC20} from "@openzeppelin/contracts/token/ERC20/ERC20.sol";

/// @dev A token whose ERC-3009 delivers what the test says, and which charges senders a toll.
contract TollToken is ERC20 {
    uint256 private _delivered;
    uint256 private _taken;
    uint256 private _toll;

    constructor() ERC20("Toll", "TOL") {}

    function mint(address to, uint256 amount) external {
        _mint(to, amount);
    }

    /// @dev What the next authorisation gives to the receiver, or takes from it.
    function deliver(uint256 given, uint256 taken) external {
        (_delivered, _taken) = (given, taken);
    }

    /// @dev Burned from the sender of every transfer, on top of it.
    function setToll(uint256 toll) external {
        _toll = toll;
    }

    function receiveWithAuthorization(address, address to, uint256, uint256, uint256, bytes32, uint8, bytes32, bytes32)
        external
    {
        _mint(to, _delivered);
        _burn(to, _taken);
    }

    function transfer(address to, uint256 amount) public override returns (bool) {
        _burn(msg.sender, _toll);
        return super.transfer(to, amount);
    }
}
