"""The catalogue: categories, products, variants, pricing rules and coupons, as one immutable snapshot to look up in.

PostgreSQL holds its truth; a snapshot is what was true at one `version`. Nothing here does any I/O.
"""

from __future__ import annotations

import enum
import re
import unicodedata
from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from operator import attrgetter
from typing import TypeVar

from msgspec import Struct, field

from engine.coupons import Coupon, code_key
from engine.pricing import Rule, RuleIndex

MAX_NAME_LENGTH = 200
MAX_DESCRIPTION_LENGTH = 5_000
MAX_BRAND_LENGTH = 200
MAX_SLUG_LENGTH = 64
MAX_CATEGORY_DEPTH = 16
MAX_HANDLE_LENGTH = 200
MAX_PRICE_MINOR = 1_000_000_000_000
MAX_TAGS = 50
MAX_TAG_LENGTH = 64
MAX_ATTRIBUTES = 50
MAX_ATTRIBUTE_NAME_LENGTH = 64
MAX_ATTRIBUTE_LENGTH = 500
MAX_ATTRIBUTE_NUMBER = 1_000_000_000_000_000
MAX_VARIANTS_OF_PRODUCT = 500

CATEGORY_PREFIX = "cat_"
PRODUCT_PREFIX = "prod_"
VARIANT_PREFIX = "var_"

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

AttributeValue = str | int | float | bool


class ProductStatus(enum.StrEnum):
    """Only what is `active` is sold; `discontinued` is what was sold once."""

    ACTIVE = "active"
    DRAFT = "draft"
    DISCONTINUED = "discontinued"


class Category(Struct, frozen=True, kw_only=True):
    """A node of the tree. `position` orders by creation, `version` is the catalogue's when the row last changed."""

    id: str
    name: str
    slug: str
    parent_id: str | None = None
    position: int = 0
    version: int = 0
    created_ms: int = 0
    updated_ms: int = 0


class Product(Struct, frozen=True, kw_only=True):
    """What is described and priced once for all its variants; `base_price` in minor units of `currency`."""

    id: str
    name: str
    base_price: int
    currency: str
    description: str = ""
    category_id: str | None = None
    status: ProductStatus = ProductStatus.ACTIVE
    brand: str | None = None
    tags: tuple[str, ...] = ()
    attributes: Mapping[str, AttributeValue] = field(default_factory=dict)
    position: int = 0
    version: int = 0
    created_ms: int = 0
    updated_ms: int = 0


class Variant(Struct, frozen=True, kw_only=True):
    """What is counted and sold: one SKU of a product. One unit costs `base_price + price_adjustment` before rules."""

    id: str
    product_id: str
    sku: str
    attributes: Mapping[str, AttributeValue] = field(default_factory=dict)
    price_adjustment: int = 0
    retired: bool = False
    position: int = 0
    version: int = 0
    created_ms: int = 0
    updated_ms: int = 0


class Item(Struct, frozen=True):
    """A sellable variant as a shopper lists it: not retired, of an active product; `price` before rules."""

    variant: Variant
    product: Product
    price: int
    folded_name: str

    @property
    def position(self) -> int:
        return self.variant.position


Row = Category | Product | Variant | Rule | Coupon
P = TypeVar("P", Category, Product, Variant, Rule, Coupon, Item)

_position = attrgetter("position")


class Catalogue:
    """Everything as it was at `version`: never changed once made, so whoever holds one sees one moment."""

    __slots__ = (
        "_ancestors",
        "_categories",
        "_children",
        "_coupons",
        "_items",
        "_of_category",
        "_of_code",
        "_of_product",
        "_of_sku",
        "_of_slug",
        "_products",
        "_rules",
        "_variants",
        "categories",
        "coupons",
        "products",
        "rule_index",
        "rules",
        "variants",
        "version",
    )

    def __init__(
        self,
        version: int = 0,
        categories: Iterable[Category] = (),
        products: Iterable[Product] = (),
        variants: Iterable[Variant] = (),
        rules: Iterable[Rule] = (),
        coupons: Iterable[Coupon] = (),
    ) -> None:
        self.version = version
        self.categories = _by_position(categories)
        self.products = _by_position(products)
        self.variants = _by_position(variants)
        self.rules = _by_position(rules)
        self.rule_index = RuleIndex(self.rules)
        self.coupons = _by_position(coupons)
        self._categories = {category.id: category for category in self.categories}
        self._products = {product.id: product for product in self.products}
        self._variants = {variant.id: variant for variant in self.variants}
        self._rules = {rule.id: rule for rule in self.rules}
        self._coupons = {coupon.id: coupon for coupon in self.coupons}
        self._of_slug = {category.slug: category for category in self.categories}
        self._of_sku = {variant.sku: variant for variant in self.variants}
        self._of_code = {code_key(coupon.code): coupon for coupon in self.coupons}
        self._children: dict[str, list[str]] = {}
        for category in self.categories:
            if category.parent_id is not None:
                self._children.setdefault(category.parent_id, []).append(category.id)
        self._of_category: dict[str, list[Product]] = {}
        for product in self.products:
            if product.category_id is not None:
                self._of_category.setdefault(product.category_id, []).append(product)
        self._of_product: dict[str, list[Variant]] = {}
        for variant in self.variants:
            self._of_product.setdefault(variant.product_id, []).append(variant)
        self._ancestors: dict[str, frozenset[str]] = {}
        for category in self.categories:
            self._ancestors[category.id] = frozenset(self._path(category))
        self._items: tuple[Item, ...] | None = None

    @property
    def items(self) -> tuple[Item, ...]:
        """What is sold, the oldest first; found when it is first asked for, since most catalogues are soon replaced."""
        if self._items is None:
            self._items = tuple(self._sellable())
        return self._items

    def _path(self, category: Category) -> set[str]:
        path = {category.id}
        parent = category.parent_id
        while parent is not None and parent not in path and parent in self._categories:
            path.add(parent)
            parent = self._categories[parent].parent_id
        return path

    def _sellable(self) -> Iterable[Item]:
        folded = {product.id: product.name.casefold() for product in self.products}
        for variant in self.variants:
            product = self._products.get(variant.product_id)
            if product is not None and product.status is ProductStatus.ACTIVE and not variant.retired:
                yield Item(variant, product, product.base_price + variant.price_adjustment, folded[product.id])

    def changed(self, version: int, put: Iterable[Row] = (), gone: Iterable[str] = ()) -> Catalogue:
        """The catalogue at a later `version`: with these in place of what had their ids, without the ids `gone`."""
        categories, products = dict(self._categories), dict(self._products)
        variants, rules, coupons = dict(self._variants), dict(self._rules), dict(self._coupons)
        for row in put:
            match row:
                case Category():
                    categories[row.id] = row
                case Product():
                    products[row.id] = row
                case Variant():
                    variants[row.id] = row
                case Rule():
                    rules[row.id] = row
                case Coupon():
                    coupons[row.id] = row
        for row_id in gone:
            categories.pop(row_id, None)
            products.pop(row_id, None)
            variants.pop(row_id, None)
            rules.pop(row_id, None)
            coupons.pop(row_id, None)
        return Catalogue(
            version, categories.values(), products.values(), variants.values(), rules.values(), coupons.values()
        )

    # Looking up

    def category(self, category_id: str) -> Category | None:
        return self._categories.get(category_id)

    def category_of_slug(self, slug: str) -> Category | None:
        return self._of_slug.get(slug)

    def product(self, product_id: str) -> Product | None:
        return self._products.get(product_id)

    def variant(self, variant_id: str) -> Variant | None:
        return self._variants.get(variant_id)

    def rule(self, rule_id: str) -> Rule | None:
        return self._rules.get(rule_id)

    def coupon(self, code: str) -> Coupon | None:
        """The coupon of this code, in any case of letters."""
        return self._of_code.get(code_key(code))

    def coupon_of_id(self, coupon_id: str) -> Coupon | None:
        return self._coupons.get(coupon_id)

    def variant_of_sku(self, sku: str) -> Variant | None:
        return self._of_sku.get(sku)

    def variants_of(self, product_id: str) -> Sequence[Variant]:
        """A product's variants, retired ones too, the oldest first."""
        return tuple(self._of_product.get(product_id, ()))

    def products_of(self, category_id: str) -> Sequence[Product]:
        """The products in this very category, the oldest first."""
        return tuple(self._of_category.get(category_id, ()))

    def products_under(self, category_id: str) -> Sequence[Product]:
        """The products in this category and everything below it, the oldest first."""
        found = (product for node in self.subtree(category_id) for product in self._of_category.get(node, ()))
        return tuple(sorted(found, key=_position))

    def children(self, category_id: str) -> Sequence[str]:
        """Ids of the categories right below."""
        return tuple(self._children.get(category_id, ()))

    def ancestors(self, category_id: str | None) -> frozenset[str]:
        """Ids of the category itself and of everything above it; none for None or an unknown one."""
        return self._ancestors.get(category_id, frozenset()) if category_id is not None else frozenset()

    def subtree(self, category_id: str) -> frozenset[str]:
        """Ids of the category itself and of everything below it."""
        found: set[str] = set()
        waiting = [category_id]
        while waiting:
            node = waiting.pop()
            if node not in found:
                found.add(node)
                waiting.extend(self._children.get(node, ()))
        return frozenset(found)

    def height(self, category_id: str) -> int:
        """Levels of the subtree: 1 for a category without children."""
        depth = len(self.ancestors(category_id))
        return max((len(self.ancestors(node)) for node in self.subtree(category_id)), default=depth) - depth + 1


def rows_after(rows: Sequence[P], position: int) -> int:
    """The index of the first of these rows, which are in order, that was made after `position`."""
    return bisect_right(rows, position, key=_position)


def slug_of(text: str) -> str:
    """A slug that reads like `text`: its Latin letters and digits, joined by hyphens; "category" without any."""
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode().lower()
    return re.sub(r"[^a-z0-9]+", "-", plain).strip("-")[:MAX_SLUG_LENGTH].strip("-") or "category"


def _by_position(rows: Iterable[P]) -> tuple[P, ...]:
    return tuple(sorted(rows, key=_position))


class CatalogueRow(Struct, frozen=True):
    """A SKU as an imported file describes it; `price_minor` is in minor units of `currency`, None was not told.

    Rows that share `product` are variants of one product. `category` is the path of names from the root.
    """

    sku: str
    name: str
    price_minor: int
    currency: str
    description: str | None = None
    category: tuple[str, ...] = ()
    product: str | None = None
    attributes: Mapping[str, AttributeValue] = field(default_factory=dict)


class CatalogueChanges(Struct, frozen=True):
    """SKUs that became variants, and products that were changed; what said nothing new is in neither."""

    created: int
    updated: int
