"""The catalogue: what a SKU is called and what one unit of it costs."""

from __future__ import annotations

from msgspec import Struct

MAX_NAME_LENGTH = 500
MAX_DESCRIPTION_LENGTH = 10_000
MAX_CATEGORY_LENGTH = 200
MAX_PRICE_MINOR = 100_000_000_000

# ISO 4217, https://www.iso.org/iso-4217-currency-codes.html: the active currencies, by the digits of their minor unit.
_WITHOUT_MINOR_UNIT = "BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX UYI VND VUV XAF XOF XPF"
_WITH_THREE_DIGITS = "BHD IQD JOD KWD LYD OMR TND"
_WITH_TWO_DIGITS = (
    "AED AFN ALL AMD AOA ARS AUD AWG AZN BAM BBD BDT BGN BMD BND BOB BRL BSD BTN BWP BYN BZD CAD CDF CHF CNY COP CRC "
    "CUP CVE CZK DKK DOP DZD EGP ERN ETB EUR FJD FKP GBP GEL GHS GIP GMD GTQ GYD HKD HNL HTG HUF IDR ILS INR IRR JMD "
    "KES KGS KHR KPW KYD KZT LAK LBP LKR LRD LSL MAD MDL MGA MKD MMK MNT MOP MRU MUR MVR MWK MXN MYR MZN NAD NGN NIO "
    "NOK NPR NZD PAB PEN PGK PHP PKR PLN QAR RON RSD RUB SAR SBD SCR SDG SEK SGD SHP SLE SOS SRD SSP STN SVC SYP SZL "
    "THB TJS TMT TOP TRY TTD TWD TZS UAH USD UYU UZS VED VES WST XCD XCG YER ZAR ZMW ZWG"
)
CURRENCY_DIGITS: dict[str, int] = {
    **dict.fromkeys(_WITHOUT_MINOR_UNIT.split(), 0),
    **dict.fromkeys(_WITH_TWO_DIGITS.split(), 2),
    **dict.fromkeys(_WITH_THREE_DIGITS.split(), 3),
}


class CatalogueRow(Struct, frozen=True):
    """A SKU as the catalogue describes it; `price_minor` is in minor units of `currency`, None was not told."""

    sku: str
    name: str
    price_minor: int
    currency: str
    description: str | None = None
    category: str | None = None


class CatalogueChanges(Struct, frozen=True):
    """SKUs that became products, and SKUs whose products were changed; one that said nothing new is in neither."""

    created: int
    updated: int
