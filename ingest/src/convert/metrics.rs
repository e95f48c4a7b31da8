//! Metric data points, each to one sample or, for histograms and summaries, to several.

use std::sync::Arc;

use domain::{Attributes, MetricKind, Sample, Series, UnixNanos};
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::metrics::v1::{
    AggregationTemporality, DataPointFlags, ExponentialHistogramDataPoint, HistogramDataPoint, Metric,
    NumberDataPoint, SummaryDataPoint, metric, number_data_point,
};

use super::Converter;
use super::histogram::{Buckets, explicit_buckets, exponential_buckets};
use super::resource::Resource;
use crate::limits::MAX_QUANTILES;
use crate::normalise::NOT_FINITE;
use crate::tally::{Correction, Reason};

/// The label that says how far up a bucket of a histogram reaches.
const LE: &str = "le";
/// The label of a summary's quantiles.
const QUANTILE: &str = "quantile";
/// Before a sender's label whose name we need ourselves, as Prometheus does.
const EXPORTED: &str = "exported_";

/// What all samples of one data point share.
struct Point {
    name: String,
    unit: String,
    labels: Attributes,
    at: UnixNanos,
}

impl Point {
    fn sample(&self, suffix: &str, label: Option<(&str, String)>, kind: MetricKind, value: f64) -> Sample {
        let mut labels = self.labels.clone();
        if let Some((key, text)) = label {
            labels.insert(key.into(), text);
        }
        let series = Series { name: format!("{}{suffix}", self.name), labels, kind, unit: self.unit.clone() };
        Sample { series: Arc::new(series), at: self.at, value }
    }
}

impl Converter<'_> {
    /// Appends the samples of a request to `rows`.
    pub(crate) fn metrics(&mut self, request: ExportMetricsServiceRequest, rows: &mut Vec<Sample>) {
        for group in request.resource_metrics {
            let resource = self.resource(group.resource);
            for metric in group.scope_metrics.into_iter().flat_map(|group| group.metrics) {
                self.metric(metric, &resource, rows);
            }
        }
    }

    fn metric(&mut self, metric: Metric, resource: &Resource, rows: &mut Vec<Sample>) {
        let Some(data) = metric.data else {
            // How many points it had is lost; it had one at least.
            return self.tally.reject(Reason::NoData, 1);
        };
        if metric.name.is_empty() {
            return self.tally.reject(Reason::NoName, point_count(&data));
        }
        let mut metric = MetricWriter {
            name: self.name(metric.name),
            unit: self.name(metric.unit),
            resource,
            rows,
            converter: self,
        };
        match data {
            metric::Data::Gauge(gauge) => metric.numbers(gauge.data_points, Ok(MetricKind::Gauge)),
            metric::Data::Sum(sum) => {
                let kind = kind(sum.aggregation_temporality, sum.is_monotonic);
                metric.numbers(sum.data_points, kind);
            }
            metric::Data::Histogram(histogram) => {
                let kind = kind(histogram.aggregation_temporality, true);
                metric.each(histogram.data_points, |metric, point| metric.histogram(point, kind?));
            }
            metric::Data::ExponentialHistogram(histogram) => {
                let kind = kind(histogram.aggregation_temporality, true);
                metric.each(histogram.data_points, |metric, point| metric.exponential(point, kind?));
            }
            metric::Data::Summary(summary) => {
                metric.each(summary.data_points, MetricWriter::summary);
            }
        }
    }

    /// The labels of a series: the point's attributes, and `service` and `instance` of the resource. A sender's label
    /// named as one of `ours` is kept under another name.
    fn labels(
        &mut self,
        list: Vec<KeyValue>,
        resource: &Resource,
        ours: &[&str],
    ) -> Result<Attributes, Reason> {
        if list.len() > self.limits.max_labels.min(self.limits.max_attributes) {
            return Err(Reason::TooManyLabels);
        }
        let mut labels = self.attributes(list);
        for key in ours {
            if let Some(theirs) = labels.remove(*key) {
                let mut name = format!("{EXPORTED}{key}");
                while labels.contains_key(&name) {
                    name.insert_str(0, EXPORTED);
                }
                labels.insert(name, theirs);
            }
        }
        for value in labels.values_mut() {
            *value = self.name(std::mem::take(value));
        }
        labels.insert("service".into(), resource.service.clone());
        if !resource.instance.is_empty() {
            labels.insert("instance".into(), resource.instance.clone());
        }
        Ok(labels)
    }

    /// Counts what `series` copies of the name, of `name_bytes` with the unit, and of the labels will take, and refuses what
    /// would be too much.
    fn unfold(&mut self, name_bytes: usize, labels: &Attributes, series: usize) -> Result<(), Reason> {
        /// A map entry of two strings, and a bit.
        const ENTRY_BYTES: usize = 64;
        let bytes: usize = labels.iter().map(|(key, value)| key.len() + value.len() + ENTRY_BYTES).sum();
        self.series_bytes += (name_bytes + bytes) * series;
        if self.series_bytes > self.limits.max_series_bytes { Err(Reason::TooLarge) } else { Ok(()) }
    }
}

/// Writes the points of one metric.
struct MetricWriter<'a, 'b> {
    name: String,
    unit: String,
    resource: &'a Resource,
    rows: &'a mut Vec<Sample>,
    converter: &'a mut Converter<'b>,
}

impl MetricWriter<'_, '_> {
    /// Writes each point, or counts why not.
    fn each<P>(&mut self, points: Vec<P>, write: impl Fn(&mut Self, P) -> Result<(), Reason>) {
        for point in points {
            match write(self, point) {
                Ok(()) => self.converter.tally.accepted += 1,
                Err(reason) => self.converter.tally.reject(reason, 1),
            }
        }
    }

    fn numbers(&mut self, points: Vec<NumberDataPoint>, kind: Result<MetricKind, Reason>) {
        self.rows.reserve(points.len());
        self.each(points, |metric, point| metric.number(point, kind?));
    }

    fn number(&mut self, point: NumberDataPoint, kind: MetricKind) -> Result<(), Reason> {
        let head = self.head(point.flags, point.time_unix_nano)?;
        let value = match point.value {
            Some(number_data_point::Value::AsInt(value)) => value as f64,
            Some(number_data_point::Value::AsDouble(value)) if usable(value) => value,
            _ => return Err(Reason::NotANumber),
        };
        let point = self.point(point.attributes, head, &["service", "instance"], 1)?;
        let Point { name, unit, labels, at } = point;
        let series = Series { name, labels, kind, unit };
        self.rows.push(Sample { series: Arc::new(series), at, value });
        Ok(())
    }

    fn histogram(&mut self, point: HistogramDataPoint, kind: MetricKind) -> Result<(), Reason> {
        let head = self.head(point.flags, point.time_unix_nano)?;
        let buckets = explicit_buckets(&point.explicit_bounds, &point.bucket_counts)?;
        self.buckets(point.attributes, head, kind, buckets, point.sum, point.count)
    }

    fn exponential(&mut self, point: ExponentialHistogramDataPoint, kind: MetricKind) -> Result<(), Reason> {
        let head = self.head(point.flags, point.time_unix_nano)?;
        let buckets = exponential_buckets(&point)?;
        self.buckets(point.attributes, head, kind, buckets, point.sum, point.count)
    }

    fn buckets(
        &mut self,
        attributes: Vec<KeyValue>,
        at: UnixNanos,
        kind: MetricKind,
        buckets: Buckets,
        sum: Option<f64>,
        count: u64,
    ) -> Result<(), Reason> {
        let point = self.point(attributes, at, &["service", "instance", LE], buckets.len() + 2)?;
        for (bound, count) in buckets {
            self.rows.push(point.sample("_bucket", Some((LE, bound)), kind, count as f64));
        }
        if let Some(sum) = sum {
            self.push_usable(point.sample("_sum", None, kind, sum));
        }
        self.rows.push(point.sample("_count", None, kind, count as f64));
        Ok(())
    }

    fn summary(&mut self, point: SummaryDataPoint) -> Result<(), Reason> {
        let at = self.head(point.flags, point.time_unix_nano)?;
        if point.quantile_values.len() > MAX_QUANTILES {
            return Err(Reason::MalformedPoint);
        }
        let (sum, count, quantiles) = (point.sum, point.count, point.quantile_values);
        let ours = ["service", "instance", QUANTILE];
        let point = self.point(point.attributes, at, &ours, quantiles.len() + 2)?;
        for quantile in quantiles {
            let label = Some((QUANTILE, quantile.quantile.to_string()));
            if (0.0..=1.0).contains(&quantile.quantile) {
                self.push_usable(point.sample("", label, MetricKind::Gauge, quantile.value));
            } else {
                self.converter.tally.correct(Correction::NotANumber);
            }
        }
        self.push_usable(point.sample("_sum", None, MetricKind::Counter, sum));
        self.rows.push(point.sample("_count", None, MetricKind::Counter, count as f64));
        Ok(())
    }

    /// A part of a point, unless it has no finite value.
    fn push_usable(&mut self, sample: Sample) {
        if usable(sample.value) {
            self.rows.push(sample);
        } else {
            self.converter.tally.correct(Correction::NotANumber);
        }
    }

    /// What every point has: a flag that there is no value, and a time.
    fn head(&mut self, flags: u32, time_unix_nano: u64) -> Result<UnixNanos, Reason> {
        if flags & DataPointFlags::NoRecordedValueMask as u32 != 0 {
            return Err(Reason::NoRecordedValue);
        }
        self.converter.instant(time_unix_nano).ok_or(Reason::Future)
    }

    fn point(
        &mut self,
        attributes: Vec<KeyValue>,
        at: UnixNanos,
        ours: &[&str],
        series: usize,
    ) -> Result<Point, Reason> {
        let labels = self.converter.labels(attributes, self.resource, ours)?;
        self.converter.unfold(self.name.len() + self.unit.len(), &labels, series)?;
        Ok(Point { name: self.name.clone(), unit: self.unit.clone(), labels, at })
    }
}

/// Whether a value can be stored: the normaliser writes its stand-in for what JSON has no number for.
fn usable(value: f64) -> bool {
    value.abs() < NOT_FINITE
}

fn kind(temporality: i32, monotonic: bool) -> Result<MetricKind, Reason> {
    match AggregationTemporality::try_from(temporality) {
        Ok(AggregationTemporality::Delta) => Ok(MetricKind::Delta),
        Ok(AggregationTemporality::Cumulative) if monotonic => Ok(MetricKind::Counter),
        Ok(AggregationTemporality::Cumulative) => Ok(MetricKind::Gauge),
        Ok(AggregationTemporality::Unspecified) | Err(_) => Err(Reason::Temporality),
    }
}

fn point_count(data: &metric::Data) -> u64 {
    let points = match data {
        metric::Data::Gauge(data) => data.data_points.len(),
        metric::Data::Sum(data) => data.data_points.len(),
        metric::Data::Histogram(data) => data.data_points.len(),
        metric::Data::ExponentialHistogram(data) => data.data_points.len(),
        metric::Data::Summary(data) => data.data_points.len(),
    };
    points as u64
}
