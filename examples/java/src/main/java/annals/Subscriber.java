package annals;

import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.header.Header;

/**
 * A subscriber that proves what it got: each event continues the chain of its aggregate, by ce_previous: {@code NAME}.
 *
 * <p>Reads subscribers.NAME from its first record to its present end. Prints an event in one line; one that is there a
 * second time is passed over. One whose ce_previous is not the ce_id of the event before it says that events are missing; of
 * a subscription with types or filters they are missing on purpose. Exits with 1 if there is any.
 */
final class Subscriber {
  private record Head(long version, String cid) {}

  private final Map<String, Head> heads = new HashMap<>();
  private int events;
  private int again;
  private int breaks;

  public static void main(String[] arguments) {
    if (arguments.length != 1) {
      System.err.println("usage: Subscriber NAME");
      System.exit(2);
    }
    System.exit(new Subscriber().read(arguments[0]) ? 0 : 1);
  }

  private boolean read(String name) {
    try (KafkaConsumer<byte[], byte[]> consumer = new KafkaConsumer<>(Settings.forReading())) {
      List<TopicPartition> partitions = Settings.partitions(consumer, "subscribers." + name);
      consumer.assign(partitions);
      consumer.seekToBeginning(partitions); // the topic keeps 7 days: it need not begin at 0
      Map<TopicPartition, Long> ends = consumer.endOffsets(partitions);
      while (ends.entrySet().stream().anyMatch(end -> consumer.position(end.getKey()) < end.getValue())) {
        for (ConsumerRecord<byte[], byte[]> record : consumer.poll(Duration.ofMillis(500))) {
          take(record);
        }
      }
    }
    System.out.printf("%d events, %d seen before; %d do not continue their chain%n", events, again, breaks);
    return breaks == 0;
  }

  private void take(ConsumerRecord<byte[], byte[]> record) {
    String aggregate = header(record, "ce_source") + " " + header(record, "ce_subject");
    long version = Long.parseLong(header(record, "ce_sequence"));
    String previous = header(record, "ce_previous");
    Head last = heads.get(aggregate);
    if (last != null && version <= last.version()) {
      again++;
      return;
    }
    events++;
    // Of an aggregate that is met for the first time, what came before may be older than the topic.
    boolean isWhole = last == null ? (previous == null) == (version == 1) : last.cid().equals(previous);
    String what = "";
    if (!isWhole) {
      breaks++;
      what = ": continues " + previous + ", and the event before it is " + (last == null ? null : last.cid());
    }
    String cid = header(record, "ce_id");
    System.out.printf("%s version %d: %s %s%s%n", header(record, "ce_subject"), version, header(record, "ce_type"), cid, what);
    heads.put(aggregate, new Head(version, cid));
  }

  private static String header(ConsumerRecord<byte[], byte[]> record, String name) {
    Header found = record.headers().lastHeader(name);
    return found == null || found.value() == null ? null : new String(found.value(), StandardCharsets.UTF_8);
  }
}
