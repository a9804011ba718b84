// SPDX-License-Identifier: MIT
pragma solidity ^0.8.30;

import {ERC20} from "@openzeppelin/contracts/token/ERC20/ERC20.sol";
import {ICreditReserve} from "contracts/interfaces/ICreditReserve.sol";

/// @dev What a wild token does when it is moved.
enum Mood {
    Honest,
    KeepsPart,
    AddsPart,
    AnswersFalse,
    Refuses,
    Blocks,
    Reenters
}

/// @dev A payment token that breaks its promises as the campaign tells it. It never takes money out of accounts that don't
/// send any: nothing could be done about that.
contract WildToken is ERC20 {
    error WildToken_Refused();

    struct Purchase {
        uint256 units;
        uint256 cost;
    }

    Mood public mood;
    /// @dev The account that neither sends nor gets any in the mood for it.
    address public blocked;
    ICreditReserve private immutable _RESERVE;
    uint256 private _classId;
    address private _recipient;
    Purchase[] private _purchases;

    constructor(ICreditReserve reserve) ERC20("Wild", "WLD") {
        _RESERVE = reserve;
        _approve(address(this), address(reserve), type(uint256).max);
    }

    /// @param recipient Who gets the credits that it buys from inside its own transfers.
    function setMood(Mood mood_, uint256 classId, address recipient) external {
        (mood, _classId, _recipient) = (mood_, classId, recipient);
    }

    function block_(address account) external {
        blocked = account;
    }

    function mint(address to, uint256 amount) external {
        _mint(to, amount);
    }

    /// @dev What it bought since it was asked last.
    function takePurchases() external returns (Purchase[] memory purchases) {
        purchases = _purchases;
        delete _purchases;
    }

    function transferFrom(address from, address to, uint256 amount) public override returns (bool) {
        super.transferFrom(from, to, amount);
        return mood != Mood.AnswersFalse;
    }

    function transfer(address to, uint256 amount) public override returns (bool) {
        super.transfer(to, amount);
        return mood != Mood.AnswersFalse;
    }

    function _update(address from, address to, uint256 amount) internal override {
        super._update(from, to, amount);
        if (from == address(0) || mood == Mood.Honest) return;
        bool blocks = mood == Mood.Blocks && (from == blocked || to == blocked);
        if (mood == Mood.Refuses || blocks) revert WildToken_Refused();
        if (mood == Mood.KeepsPart && amount != 0) super._update(to, address(0), 1);
        if (mood == Mood.AddsPart) super._update(address(0), to, 1);
        if (mood == Mood.Reenters && from != address(this)) _buyAgain();
    }

    /// @dev Inside a sale of the reserve, its price would count twice if the reserve let it in.
    function _buyAgain() private {
        uint256 units = 1_000_000;
        _mint(address(this), 10_000);
        try _RESERVE.buy(_classId, units, _recipient, 10_000) returns (uint256 cost) {
            _purchases.push(Purchase(units, cost));
        } catch {}
    }
}
