"""What the API calls itself: group, version, kind and plural, for both sides and for the CRD."""

from typing import Final

GROUP: Final = "timestream.dev"
VERSION: Final = "v1alpha1"
API_VERSION: Final = "timestream.dev/v1alpha1"
KIND: Final = "TimestreamAggregation"
PLURAL: Final = "timestreamaggregations"
SINGULAR: Final = "timestreamaggregation"
SHORT_NAME: Final = "tsagg"
CATEGORY: Final = "timestream"
