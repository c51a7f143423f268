package annals;

import java.util.List;
import java.util.Map;
import java.util.Objects;
import org.apache.kafka.clients.consumer.ConsumerConfig;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.producer.ProducerConfig;
import org.apache.kafka.common.PartitionInfo;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;
import org.apache.kafka.common.serialization.ByteArraySerializer;

/** The same two settings as the worker's, and how the clients are to be. */
final class Settings {
  static final String PREFIX = Objects.requireNonNullElse(System.getenv("ANNALS_TOPIC_PREFIX"), "");
  private static final String SERVERS =
      Objects.requireNonNullElse(System.getenv("ANNALS_BOOTSTRAP_SERVERS"), "127.0.0.1:9092");

  private Settings() {}

  static Map<String, Object> forReading() {
    return Map.of(
        ConsumerConfig.BOOTSTRAP_SERVERS_CONFIG, SERVERS,
        ConsumerConfig.ISOLATION_LEVEL_CONFIG, "read_committed", // or you see what was aborted
        ConsumerConfig.ALLOW_AUTO_CREATE_TOPICS_CONFIG, false, // asking for a missing topic could make it
        ConsumerConfig.AUTO_OFFSET_RESET_CONFIG, "none", // a journal that does not begin at 0 has lost events
        ConsumerConfig.ENABLE_AUTO_COMMIT_CONFIG, false,
        ConsumerConfig.KEY_DESERIALIZER_CLASS_CONFIG, ByteArrayDeserializer.class,
        ConsumerConfig.VALUE_DESERIALIZER_CLASS_CONFIG, ByteArrayDeserializer.class);
  }

  static Map<String, Object> forWriting() {
    return Map.of(
        ProducerConfig.BOOTSTRAP_SERVERS_CONFIG, SERVERS,
        ProducerConfig.KEY_SERIALIZER_CLASS_CONFIG, ByteArraySerializer.class,
        ProducerConfig.VALUE_SERIALIZER_CLASS_CONFIG, ByteArraySerializer.class);
  }

  static List<TopicPartition> partitions(KafkaConsumer<?, ?> consumer, String topic) {
    List<PartitionInfo> found = consumer.partitionsFor(PREFIX + topic);
    if (found == null || found.isEmpty()) {
      throw new IllegalStateException("there is no topic " + PREFIX + topic + ": create it with `annals topics create`");
    }
    return found.stream()
        .map(each -> new TopicPartition(each.topic(), each.partition()))
        .toList();
  }
}
