#!/bin/sh
# The image's first process: `driver` and `executor` are what Spark asks for on Kubernetes, everything else are words
# after `embedlake`.
set -eu

case ${1:-} in
driver)
    shift
    # Executors reach the driver by its pod's address.
    exec "$SPARK_HOME/bin/spark-submit" \
        --conf "spark.driver.bindAddress=$SPARK_DRIVER_BIND_ADDRESS" \
        --conf "spark.executorEnv.SPARK_DRIVER_POD_IP=$SPARK_DRIVER_BIND_ADDRESS" \
        --deploy-mode client "$@"
    ;;
executor)
    # Spark hands over options of Java as SPARK_JAVA_OPT_0, SPARK_JAVA_OPT_1 and so on, one word each.
    number=0
    set --
    while eval "option=\${SPARK_JAVA_OPT_$number-}" && [ -n "$option" ]; do
        set -- "$@" "$option"
        number=$((number + 1))
    done
    exec java "$@" "-Xms$SPARK_EXECUTOR_MEMORY" "-Xmx$SPARK_EXECUTOR_MEMORY" \
        -cp "${SPARK_CONF_DIR:-$SPARK_HOME/conf}:$SPARK_HOME/jars/*${SPARK_CLASSPATH:+:$SPARK_CLASSPATH}" \
        org.apache.spark.scheduler.cluster.k8s.KubernetesExecutorBackend \
        --driver-url "$SPARK_DRIVER_URL" \
        --executor-id "$SPARK_EXECUTOR_ID" \
        --cores "$SPARK_EXECUTOR_CORES" \
        --app-id "$SPARK_APPLICATION_ID" \
        --hostname "$SPARK_EXECUTOR_POD_IP" \
        --resourceProfileId "$SPARK_RESOURCE_PROFILE_ID" \
        --podName "$SPARK_EXECUTOR_POD_NAME"
    ;;
*)
    # Ivy writes beside the jars that it finds, and the image cannot be written. Java asks the list of users, not HOME.
    export SPARK_CONF_DIR="$HOME/spark"
    mkdir -p "$SPARK_CONF_DIR"
    [ -e "$HOME/ivy" ] || cp -R "${SPARK_HOME%/*}/ivy" "$HOME/ivy"
    echo "spark.jars.ivy $HOME/ivy" >"$SPARK_CONF_DIR/spark-defaults.conf"
    exec embedlake "$@"
    ;;
esac
